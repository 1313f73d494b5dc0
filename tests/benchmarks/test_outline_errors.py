"""Signed distances are those that were drawn, and the figures are of training patients only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from outline_errors import border_errors, images, measure
from tiny_camus import write_tiny_camus

from echoapex.infer.clip.models import TaskInterpreter
from echoapex.vocabulary import Structure

SIZE, LENGTH = 200, 100


def drawn(top: float, half_width: float, wall: float) -> np.ndarray:
    """Half an ellipse with its base at row 150, as an apical LV."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(float)

    def inside(reach: float, half: float) -> np.ndarray:
        return ((150 - rows) / reach) ** 2 + ((columns - 100) / half) ** 2 < 1

    labels = np.where(inside(150 - top + wall, half_width + wall), int(Structure.LV_MYOCARDIUM), 0)
    labels[inside(150 - top, half_width)] = int(Structure.LV_CAVITY)
    labels[rows > 150] = 0
    return labels.astype(np.uint8)


def test_borders_that_lie_outside_are_positive() -> None:
    truth = drawn(top=50, half_width=30, wall=10)
    found = border_errors(truth, drawn(top=40, half_width=35, wall=10))
    assert found["apex, inner"] == pytest.approx(100 * 10 / LENGTH, abs=1.5)
    assert found["apex, outer"] == pytest.approx(100 * 10 / LENGTH, abs=1.5)
    sides = [found["left side, inner"], found["right side, inner"]]
    assert sides == pytest.approx([4.7, 4.7], abs=1.5)
    thin = border_errors(truth, drawn(top=50, half_width=35, wall=5))
    assert thin["apex, outer"] == pytest.approx(-5, abs=1.5)
    assert border_errors(truth, truth) == dict.fromkeys(found, 0.0)
    assert border_errors(truth, np.zeros_like(truth)) == {}


def test_training_patients_are_measured_and_no_others(tmp_path: Path) -> None:
    root = write_tiny_camus(tmp_path, training=3, validation=1)
    names = [(name, image.patient) for name, image in images(root, 2)]
    assert {patient.split for _, patient in names} == {"train"}
    assert len({patient.name for _, patient in names}) == 2
    assert {name for name, _ in names} == {"4CH ED", "4CH ES", "2CH ED", "2CH ES"}
    found = measure(root, TaskInterpreter.load("phantom"), 1)
    assert set(found["dice"]) == {"lv_cavity", "lv_myocardium", "left_atrium"}
    assert all(0 <= value <= 1 for value in found["dice"].values())
