"""Inputs are checked once, and a case is never dropped silently."""

import numpy as np
import pytest

from echoapex.metrics.agreement import MetricError, paired_labels, paired_masks, paired_numbers


def test_numbers_come_back_as_flat_floats() -> None:
    truth, measured = paired_numbers([[1], [2]], (3, 4))
    assert truth.tolist() == [1.0, 2.0]
    assert measured.dtype == np.float64


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_missing_number_is_refused_on_either_side(bad: float) -> None:
    for pair in (([1.0, bad], [1.0, 2.0]), ([1.0, 2.0], [bad, 1.0])):
        with pytest.raises(MetricError, match="how many were dropped"):
            paired_numbers(*pair)


def test_labels_of_different_length_are_refused_rather_than_broadcast() -> None:
    with pytest.raises(MetricError, match="one of each per case"):
        paired_labels(["A4C", "A2C"], ["A4C"])


def test_masks_become_boolean_and_must_have_one_shape() -> None:
    a, b = paired_masks(np.array([[0, 2]]), np.array([[1, 0]]))
    assert a.tolist() == [[False, True]]
    assert b.tolist() == [[True, False]]
    with pytest.raises(MetricError, match="cannot be compared"):
        paired_masks(np.ones((1, 2)), np.ones((2, 1)))
