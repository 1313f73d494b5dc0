"""Masks come back from run lengths and contours as they went."""

from __future__ import annotations

import numpy as np
import pytest

from echoapex.serve.page.contours import contours_of, mask_of_contour, mask_of_runs, masks_of, run_lengths
from echoapex.serve.page.security import PageError


@pytest.mark.parametrize("seed", range(4))
def test_run_lengths_are_in_column_order_and_come_back(seed: int) -> None:
    mask = np.random.default_rng(seed).random((7, 5)) < 0.5
    counts = run_lengths(mask)
    assert sum(counts) == 35
    assert np.array_equal(mask_of_runs(counts, (7, 5)), mask)
    assert run_lengths(np.array([[False, True], [True, True]])) == [1, 3]
    assert run_lengths(np.ones((2, 2), bool)) == [0, 4] and run_lengths(np.zeros((2, 2), bool)) == [4]


def test_run_lengths_of_another_size_are_refused() -> None:
    with pytest.raises(PageError, match="5 pixels, the frame 35"):
        mask_of_runs([5], (7, 5))


def test_a_contour_holds_its_inside_and_its_edge() -> None:
    mask = mask_of_contour([(2, 1), (6, 1), (6, 4), (2, 4)], (8, 10))
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1, 4, 2, 6)
    assert not mask_of_contour([(1, 1), (2, 2)], (8, 10)).any()
    assert mask_of_contour([(-500, -500), (500, -500), (500, 500), (-500, 500)], (8, 10)).all()


def test_each_part_of_a_structure_has_a_contour() -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[2:12, 2:12] = labels[20:30, 20:30] = 1
    labels[35:39, 2:12] = 3
    found = contours_of({4: labels}).structures
    assert set(found) == {"lv_cavity", "left_atrium"} and len(found["lv_cavity"]["4"]) == 2
    assert set(masks_of(labels).structures) == {"lv_cavity", "left_atrium"}
