"""Outlines: their area, their order, and when a structure is cut off."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from echoapex.domain import Sector
from echoapex.measure import MeasureError, is_cut_off, trace_outline
from echoapex.measure.outline import polygon_area


def ellipse(centre_xy: tuple[float, float], half_xy: tuple[float, float], size=(120, 160)) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]]
    return ((x - centre_xy[0]) / half_xy[0]) ** 2 + ((y - centre_xy[1]) / half_xy[1]) ** 2 <= 1


@given(arrays(bool, (9, 11)))
@settings(max_examples=150, deadline=None)
def test_any_mask_has_one_closed_outline_around_all_of_its_largest_part(mask: np.ndarray) -> None:
    if not mask.any():
        with pytest.raises(MeasureError, match="empty"):
            trace_outline(mask)
        return
    parts, _ = ndimage.label(mask)
    largest = ndimage.binary_fill_holes(parts == 1 + np.bincount(parts.ravel())[1:].argmax())
    padded = np.pad(largest, 1).astype(int)
    sides = np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()
    outline = trace_outline(mask)
    assert len(outline) == len(np.unique(outline, axis=0)) == sides
    steps = np.linalg.norm(outline - np.roll(outline, 1, axis=0), axis=1)
    assert set(np.round(steps, 6)) <= {1.0, round(0.5**0.5, 6)}
    # each convex corner loses an eighth of a pixel, each concave one gains it, and there are four more of the former
    assert polygon_area(outline) == pytest.approx(largest.sum() - 0.5)


def test_the_outline_lies_on_the_ellipse() -> None:
    outline = trace_outline(ellipse((70.0, 55.0), (40.0, 30.0)))
    radius = np.hypot((outline[:, 0] - 70) / 40, (outline[:, 1] - 55) / 30)
    assert np.abs(radius - 1).max() < 0.75 / 30
    assert radius.mean() == pytest.approx(1, abs=0.01)


def test_specks_and_holes_do_not_matter() -> None:
    clean = ellipse((70.0, 55.0), (40.0, 30.0))
    marred = clean.copy()
    marred[50:56, 60:64] = False  # a papillary muscle
    marred[2:4, 2:4] = True
    assert np.array_equal(trace_outline(marred), trace_outline(clean))


def test_a_structure_inside_the_sector_is_not_cut_off() -> None:
    outline = trace_outline(ellipse((70.0, 55.0), (40.0, 30.0)))
    assert not is_cut_off(outline, (120, 160), Sector((20.0, 15.0, 130.0, 100.0)))


@pytest.mark.parametrize("centre_xy", [(150.0, 55.0), (8.0, 55.0), (70.0, 110.0)])
def test_a_structure_that_leaves_the_image_is_cut_off(centre_xy: tuple[float, float]) -> None:
    assert is_cut_off(trace_outline(ellipse(centre_xy, (40.0, 30.0))), (120, 160))


def test_a_structure_that_follows_the_slanted_edge_of_the_fan_is_cut_off() -> None:
    fan = Sector((0.0, 0.0, 160.0, 120.0), polygon_xy=((80.0, 0.0), (140.0, 119.0), (20.0, 119.0)))
    y, x = np.mgrid[:120, :160]
    inside_fan = np.abs(x - 80) <= 60 * y / 119
    centred, aside = ellipse((80.0, 75.0), (20.0, 25.0)), ellipse((105.0, 75.0), (25.0, 35.0)) & inside_fan
    assert not is_cut_off(trace_outline(centred), (120, 160), fan)
    assert is_cut_off(trace_outline(aside), (120, 160), fan)


@given(st.floats(-20, 20), st.floats(-20, 20))
@settings(max_examples=25, deadline=None)
def test_area_does_not_depend_on_place(dx: float, dy: float) -> None:
    polygon = np.array([[0.0, 0.0], [7.0, 1.0], [5.0, 6.0], [1.0, 4.0]])
    assert polygon_area(polygon + np.array([dx, dy])) == pytest.approx(polygon_area(polygon))
