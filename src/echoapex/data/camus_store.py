"""CAMUS as a store of prepared clips: per patient and view the ED and the ES frame with their outlines."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from echoapex.data.clip_store import write_shard
from echoapex.data.datasets.camus import (
    PHASES,
    STRUCTURES,
    VIEW_NAMES,
    CamusDataset,
    CamusError,
    CamusImage,
    open_camus,
    select_patients,
)
from echoapex.data.datasets.camus_patient import CamusPatient
from echoapex.data.preprocess import prepare_image, prepare_labels
from echoapex.io.sector import find_sector
from echoapex.vocabulary import View

_CLIPS_PER_SHARD = 60
_KNOWN = sum(1 << int(structure) for structure in STRUCTURES)


def write_camus_store(root: Path, split: str, patients: slice, size: int, directory: Path) -> None:
    """Prepare some patients of a split as a store, unless it is there already.

    Frames go through the same sector search and crop as in analysis.

    Args:
        root: CAMUS in either layout.
        split: official split.
        patients: which of its patients, in the order of their names.
        size: side of the stored frames in pixels.
        directory: the store.

    Raises:
        CamusError: the data set cannot be read, or no such patient has outlines.
    """
    if directory.exists():
        return
    dataset = open_camus(root)
    clips = [
        images
        for patient in select_patients(dataset, split)[patients]
        for view in VIEW_NAMES
        if len(images := _images(dataset, patient, view)) == len(PHASES)
    ]
    if not clips:
        raise CamusError(f"{root}: none of the chosen patients of the split {split!r} has an outlined ED and ES frame")
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for first in range(0, len(clips), _CLIPS_PER_SHARD):
        _write(clips[first : first + _CLIPS_PER_SHARD], size, partial / f"shard-{first // _CLIPS_PER_SHARD:05d}")
    partial.rename(directory)


def _images(dataset: CamusDataset, patient: CamusPatient, view: View) -> list[CamusImage]:
    found = (dataset.read_image(patient, view, phase) for phase in PHASES)
    return [image for image in found if image is not None]


def _write(clips: Sequence[Sequence[CamusImage]], size: int, path: Path) -> None:
    frames = np.zeros((len(clips), len(PHASES), size, size), np.uint8)
    labels = np.zeros_like(frames)
    rows = [_prepare(images, frames[number], labels[number]) for number, images in enumerate(clips)]
    write_shard(path, frames, labels, {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]})


def _prepare(images: Sequence[CamusImage], frames: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Fill the pixels of one clip and return its truth row."""
    sector = find_sector(np.stack([image.pixels for image in images]))
    for row, image in enumerate(images):
        frames[row], transform = prepare_image(image.pixels, sector, frames.shape[-1])
        labels[row] = prepare_labels(image.labels, transform)
    patient = images[0].patient
    return {
        "view": list(View).index(images[0].view),
        "patient": int("".join(filter(str.isdigit, patient.name))),
        "times_s": np.arange(len(images), dtype=float),
        "relative_volume": np.full(len(images), np.nan),
        "ef_percent": np.nan if patient.ejection_fraction_percent is None else patient.ejection_fraction_percent,
        "label_frames": np.arange(len(images)),
        "known_structures": _KNOWN,
        "wall_frame": -1,
        "wall_points": np.full((4, 2), np.nan),
        "mm_per_px": np.nan,
    }
