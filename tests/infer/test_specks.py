"""Small islands go, true parts stay."""

from __future__ import annotations

import numpy as np

from echoapex.infer.specks import without_specks


def test_an_island_goes_and_the_body_stays() -> None:
    labels = np.zeros((60, 60), np.uint8)
    labels[10:30, 10:30] = 1
    labels[50:53, 50:53] = 1
    cleaned = without_specks(labels)
    assert cleaned[20, 20] == 1
    assert cleaned[51, 51] == 0
    assert labels[51, 51] == 1, "the argument is left as it was"


def test_a_true_second_part_and_other_structures_stay() -> None:
    labels = np.zeros((60, 60), np.uint8)
    labels[10:30, 10:30] = 4
    labels[40:52, 40:52] = 4
    labels[0:3, 0:3] = 2
    np.testing.assert_array_equal(without_specks(labels), labels)


def test_an_empty_map_stays_empty() -> None:
    assert not without_specks(np.zeros((8, 8), np.uint8)).any()
