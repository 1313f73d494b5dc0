"""Overlap and outline distances on masks whose answer is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score, jaccard_score

from echoapex.domain import Spacing
from echoapex.metrics import MetricError, dice, hd95_mm, iou, mean_surface_distance_mm

masks = arrays(bool, (12, 15))
SPACING = Spacing(row_mm=0.4, column_mm=0.9)


def disc(radius_mm: float, spacing: Spacing, centre_mm: tuple[float, float] = (40, 40), extent_mm: float = 80):
    rows = np.arange(round(extent_mm / spacing.row_mm)) * spacing.row_mm
    columns = np.arange(round(extent_mm / spacing.column_mm)) * spacing.column_mm
    return np.hypot(rows[:, None] - centre_mm[0], columns[None] - centre_mm[1]) <= radius_mm


@given(masks, masks)
@settings(max_examples=60, deadline=None)
def test_overlap_is_symmetric_bounded_and_that_of_scikit_learn(a: np.ndarray, b: np.ndarray) -> None:
    assert dice(a, b) == dice(b, a)
    assert iou(a, b) == iou(b, a)
    assert 0 <= iou(a, b) <= dice(a, b) <= 1
    if a.any() or b.any():
        assert dice(a, b) == pytest.approx(f1_score(a.ravel(), b.ravel(), zero_division=0))
        assert iou(a, b) == pytest.approx(jaccard_score(a.ravel(), b.ravel(), zero_division=0))
        assert dice(a, b) == pytest.approx(2 * iou(a, b) / (1 + iou(a, b)))


@given(masks, masks)
@settings(max_examples=40, deadline=None)
def test_outline_distances_are_symmetric_and_scale_with_spacing(a: np.ndarray, b: np.ndarray) -> None:
    twice = Spacing(SPACING.row_mm * 2, SPACING.column_mm * 2)
    for distance in (hd95_mm, mean_surface_distance_mm):
        here = distance(a, b, SPACING)
        assert here == pytest.approx(distance(b, a, SPACING))
        assert distance(a, b, twice) == pytest.approx(2 * here)
        assert distance(a, a, SPACING) == 0


@pytest.mark.parametrize("spacing", [Spacing(0.5, 0.5), Spacing(0.25, 0.6), Spacing(0.8, 0.3)])
def test_concentric_discs_are_as_far_apart_as_their_radii_differ(spacing: Spacing) -> None:
    inner, outer = disc(20, spacing), disc(26, spacing)
    tolerance = max(spacing.row_mm, spacing.column_mm)
    assert mean_surface_distance_mm(inner, outer, spacing) == pytest.approx(6, abs=tolerance)
    assert hd95_mm(inner, outer, spacing) == pytest.approx(6, abs=tolerance)


def test_a_shift_is_measured_along_its_own_axis() -> None:
    mask = np.zeros((40, 40), bool)
    mask[10:20, 10:20] = True
    assert hd95_mm(mask, np.roll(mask, 5, axis=0), SPACING) == pytest.approx(5 * SPACING.row_mm)
    assert hd95_mm(mask, np.roll(mask, 5, axis=1), SPACING) == pytest.approx(5 * SPACING.column_mm)


def test_the_95th_percentile_ignores_a_single_stray_pixel() -> None:
    spacing = Spacing(1, 1)
    mask = disc(20, spacing)
    stray = mask.copy()
    stray[0, 0] = True
    assert hd95_mm(mask, stray, spacing) == 0
    assert mean_surface_distance_mm(mask, stray, spacing) > 0


def test_empty_masks_agree_and_a_missed_structure_is_never_cheap() -> None:
    empty, full = np.zeros((8, 8), bool), np.ones((8, 8), bool)
    assert dice(empty, empty) == iou(empty, empty) == 1
    assert dice(empty, full) == iou(empty, full) == 0
    assert hd95_mm(empty, empty, SPACING) == 0
    assert hd95_mm(empty, full, SPACING) == mean_surface_distance_mm(full, empty, SPACING) == math.inf


def test_masks_of_different_size_are_refused() -> None:
    with pytest.raises(MetricError, match="native pixels"):
        dice(np.ones((3, 4)), np.ones((4, 3)))
