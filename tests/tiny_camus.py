"""A tiny CAMUS in the layout of one archive: drawn hearts in a fan, ED and ES, two views."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from drawn_clips import draw_labels

from echoapex.vocabulary import View

SIDE = 96


def write_tiny_camus(root: Path, training: int = 4, validation: int = 1) -> Path:
    """Patients of the training split, then of the validation split."""
    count = training + validation
    images = np.zeros((count, 2, 2, SIDE, SIDE), np.uint8)
    masks = np.zeros_like(images)
    for patient, view, phase in np.ndindex(count, 2, 2):
        images[patient, view, phase], masks[patient, view, phase] = draw_image(10 * patient + view, phase)
    root.mkdir(parents=True, exist_ok=True)
    np.savez(
        root / "camus224.npz",
        image=images,
        mask=masks,
        patient=np.array([f"patient{number:04d}" for number in range(1, count + 1)]),
        split=np.array(["train"] * training + ["val"] * validation),
        view=np.array(["2CH", "4CH"]),
        phase=np.array(["ED", "ES"]),
    )
    return root


def draw_image(seed: int, phase: int) -> tuple[np.ndarray, np.ndarray]:
    """Speckle in a fan, and the outlines in it (1 cavity, 2 myocardium, 3 atrium); ES is smaller than ED."""
    rng = np.random.default_rng([seed, phase])
    labels = draw_labels(SIDE, (0.2 - 0.06 * phase) * SIDE, View.A4C)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    inside = np.abs(columns - SIDE / 2) < 0.9 * rows + 2
    grey = np.choose(labels, [90, 25, 190, 40]) * rng.uniform(0.6, 1.3, labels.shape)
    return np.where(inside, np.clip(grey, 1, 255), 0).astype(np.uint8), np.where(inside, labels, 0).astype(np.uint8)
