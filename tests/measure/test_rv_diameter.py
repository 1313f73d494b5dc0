"""RVIDd against drawn ventricles whose chord is known, and every reason for which there is none."""

from __future__ import annotations

import numpy as np
import pytest

from echoapex.domain import Sector, Spacing, WallPoint
from echoapex.measure import MeasureError
from echoapex.measure.rv_diameter import (
    EDGE_MARGIN_MM,
    LARGEST_GAP_MM,
    RvDiameter,
    measure_rv_diameter,
    require_border_in_image,
)

SPACING = Spacing(row_mm=0.4, column_mm=0.7)
Points = dict[WallPoint, tuple[float, float]]


def turned(points_mm: np.ndarray, degrees: float) -> np.ndarray:
    """Points in mm about the RV side of the septum at (100, 60), turned and in native pixels."""
    angle = np.deg2rad(degrees)
    about = points_mm @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.add(about, (100.0, 60.0)) / (SPACING.column_mm, SPACING.row_mm)


def walls(degrees: float = 0.0) -> Points:
    """Septum of 10 mm, cavity of 50 mm, posterior wall of 9 mm; the line runs up from the septum."""
    ends = np.array([[0.0, 0.0], [0.0, 10.0], [0.0, 60.0], [0.0, 69.0]])
    return {point: (float(x), float(y)) for point, (x, y) in zip(WallPoint, turned(ends, degrees), strict=True)}


def ellipse(centre_mm: tuple[float, float], half_mm: tuple[float, float], degrees: float = 0.0) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    drawn = np.column_stack([half_mm[0] * np.cos(angle), half_mm[1] * np.sin(angle)]) + centre_mm
    return turned(drawn, degrees)


@pytest.mark.parametrize("degrees", [0.0, 20.0, -35.0])
@pytest.mark.parametrize("aside_mm", [0.0, 12.0])
def test_the_diameter_ends_where_the_line_leaves_the_ellipse(degrees: float, aside_mm: float) -> None:
    """The ellipse begins 1 mm from the septum on its axis, and the line crosses it beside its middle."""
    half_width, half_height = 30.0, 11.0
    outline = ellipse((aside_mm, -half_height - 1), (half_width, half_height), degrees)
    rise = half_height * (1 - (aside_mm / half_width) ** 2) ** 0.5
    found = measure_rv_diameter(walls(degrees), outline, SPACING)
    assert found.length_mm == pytest.approx(half_height + 1 + rise, abs=0.01)
    assert SPACING.distance_mm(np.array(found.septum_xy), np.array(found.anterior_xy)) == pytest.approx(found.length_mm)
    assert found.septum_xy == pytest.approx(walls(degrees)[WallPoint.SEPTUM_RV_SIDE])


def box(first_mm: float, last_mm: float) -> np.ndarray:
    """A square RV from ``first_mm`` to ``last_mm`` in front of the septum."""
    return turned(np.array([[-20.0, -first_mm], [20.0, -first_mm], [20.0, -last_mm], [-20.0, -last_mm]]), 0.0)


@pytest.mark.parametrize("first_mm", [-LARGEST_GAP_MM + 0.1, 0.0, LARGEST_GAP_MM - 0.1])
def test_the_outline_may_begin_near_the_septum(first_mm: float) -> None:
    assert measure_rv_diameter(walls(), box(first_mm, 22.0), SPACING).length_mm == pytest.approx(22.0)


NOTCHED = np.array([[-20.0, 0.0], [20.0, 0.0], [20.0, -30.0], [-20.0, -30.0], [-20.0, -20.0], [10.0, -20.0]])


@pytest.mark.parametrize(
    ("outline", "reason"),
    [
        (box(6.0, 22.0), "begins 6 mm away from the septum"),
        (box(-7.0, 22.0), "reaches 7 mm into the septum"),
        (box(-30.0, -5.0), "does not meet the outline"),
        (np.add(box(0.0, 22.0), (60.0, 0.0)), "does not meet the outline"),
        (turned(np.vstack([NOTCHED, [[10.0, -10.0], [-20.0, -10.0]]]), 0.0), "leaves the right ventricle and enters"),
    ],
)
def test_an_outline_that_does_not_suit_the_line_is_refused(outline: np.ndarray, reason: str) -> None:
    with pytest.raises(MeasureError, match=reason):
        measure_rv_diameter(walls(), outline, SPACING)


def test_the_line_needs_its_two_points() -> None:
    for missing in (WallPoint.SEPTUM_RV_SIDE, WallPoint.POSTERIOR_WALL_EPICARDIUM):
        points = {point: place for point, place in walls().items() if point is not missing}
        with pytest.raises(MeasureError, match=missing.value):
            measure_rv_diameter(points, box(0.0, 22.0), SPACING)
    with pytest.raises(MeasureError, match="coincide"):
        measure_rv_diameter(dict.fromkeys(WallPoint, (50.0, 50.0)), box(0.0, 22.0), SPACING)


def diameter(x_px: float, from_row: float, to_row: float) -> RvDiameter:
    return RvDiameter((from_row - to_row) * SPACING.row_mm, (x_px, from_row), (x_px, to_row))


FAN = Sector((0.0, 20.0, 300.0, 300.0), ((150.0, 20.0), (299.0, 290.0), (1.0, 290.0)))


@pytest.mark.parametrize(
    ("found", "sector"),
    [
        (diameter(150.0, 150.0, 100.0), None),
        (diameter(150.0, 150.0, 100.0), FAN),
        (diameter(150.0, 60.0, EDGE_MARGIN_MM / SPACING.row_mm + 1), None),
    ],
)
def test_a_line_within_the_image_is_kept(found: RvDiameter, sector: Sector | None) -> None:
    assert require_border_in_image(found, SPACING, (300, 300), sector) is found


@pytest.mark.parametrize(
    ("found", "sector"),
    [
        (diameter(150.0, 60.0, EDGE_MARGIN_MM / SPACING.row_mm - 1), None),  # at the upper edge of the image
        (diameter(150.0, 60.0, -10.0), None),  # beyond it
        (diameter(EDGE_MARGIN_MM / SPACING.column_mm - 1, 150.0, 100.0), None),  # along the left edge
        (diameter(150.0, 60.0, 26.0), FAN),  # at the apex of the sector
        (diameter(150.0, 60.0, 10.0), FAN),  # outside the sector, in the image
        (diameter(40.0, 260.0, 150.0), FAN),  # out through the side of the sector
        (diameter(40.0, 150.0, 100.0), FAN),  # outside from the beginning
    ],
)
def test_a_line_that_ends_at_the_edge_is_refused(found: RvDiameter, sector: Sector | None) -> None:
    with pytest.raises(MeasureError, match="ends at the anterior border"):
        require_border_in_image(found, SPACING, (300, 300), sector)


def test_a_line_that_crosses_a_notch_of_the_sector_is_refused() -> None:
    notched = ((10.0, 10.0), (290.0, 10.0), (290.0, 290.0), (10.0, 290.0), (10.0, 140.0), (200.0, 130.0), (10.0, 120.0))
    with pytest.raises(MeasureError, match="ends at the anterior border"):
        require_border_in_image(
            diameter(100.0, 200.0, 60.0), SPACING, (300, 300), Sector((0.0, 0.0, 300.0, 300.0), notched)
        )
