"""Walls, mass and geometry against values worked by hand from the guideline."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoapex.domain import Spacing, WallPoint
from echoapex.measure import (
    LvGeometry,
    MeasureError,
    WallThickness,
    assess_lvh,
    lv_mass_g,
    measure_walls,
    relative_wall_thickness,
)

thickness = st.floats(5, 20)


def line_points(spacing: Spacing, degrees: float, lengths_mm: tuple[float, float, float]) -> dict[WallPoint, tuple]:
    """Four points on one line through (30, 40) mm at an angle to the columns, in pixels."""
    direction = np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])
    at_mm = [np.array([30.0, 40.0]) + direction * walked for walked in np.cumsum([0, *lengths_mm])]
    return {
        point: (float(xy[0] / spacing.column_mm), float(xy[1] / spacing.row_mm))
        for point, xy in zip(WallPoint, at_mm, strict=True)
    }


@given(st.floats(0, 180), st.floats(0.2, 1.0), st.floats(0.2, 1.0), thickness, st.floats(30, 70), thickness)
def test_walls_are_measured_in_mm_at_any_angle_and_spacing(degrees, row_mm, column_mm, septum, cavity, posterior):
    spacing = Spacing(row_mm, column_mm)
    walls = measure_walls(line_points(spacing, degrees, (septum, cavity, posterior)), spacing)
    assert (walls.ivsd_mm, walls.lvidd_mm, walls.lvpwd_mm) == pytest.approx((septum, cavity, posterior))


def test_mass_by_the_cube_formula_worked_by_hand() -> None:
    walls = WallThickness(ivsd_mm=12, lvidd_mm=48, lvpwd_mm=11)
    # (1.2 + 4.8 + 1.1)^3 = 357.911; 4.8^3 = 110.592; 0.8 * 1.04 * 247.319 + 0.6
    assert lv_mass_g(walls) == pytest.approx(206.37, abs=0.01)
    assert relative_wall_thickness(walls) == pytest.approx(22 / 48)


@given(thickness, st.floats(30, 70), thickness)
def test_mass_grows_with_every_wall_and_keeps_the_shell_formula(septum, cavity, posterior) -> None:
    mass = lv_mass_g(WallThickness(septum, cavity, posterior))
    assert mass < lv_mass_g(WallThickness(septum + 1, cavity, posterior))
    assert mass < lv_mass_g(WallThickness(septum, cavity, posterior + 1))
    doubled = lv_mass_g(WallThickness(2 * septum, 2 * cavity, 2 * posterior))
    assert (doubled - 0.6) == pytest.approx(8 * (mass - 0.6))


@pytest.mark.parametrize(
    ("sex", "mass_index", "rwt", "expected"),
    [
        ("F", 95.0, 0.42, LvGeometry.NORMAL),
        ("F", 95.6, 0.42, LvGeometry.ECCENTRIC_HYPERTROPHY),
        ("F", 95.6, 0.43, LvGeometry.CONCENTRIC_HYPERTROPHY),
        ("F", 95.0, 0.43, LvGeometry.CONCENTRIC_REMODELLING),
        ("M", 100.0, 0.40, LvGeometry.NORMAL),
        ("M", 115.6, 0.40, LvGeometry.ECCENTRIC_HYPERTROPHY),
        ("M", 115.6, 0.50, LvGeometry.CONCENTRIC_HYPERTROPHY),
        ("M", 115.0, 0.50, LvGeometry.CONCENTRIC_REMODELLING),
        ("F", 95.4, 0.424, LvGeometry.NORMAL),
        ("M", 115.4, 0.424, LvGeometry.NORMAL),
    ],
)
def test_the_four_geometries_and_their_limits(sex: str, mass_index: float, rwt: float, expected: LvGeometry) -> None:
    assessment = assess_lvh(mass_index, rwt, sex)
    assert assessment.category == expected.value
    assert f"{rwt:.2f}" in assessment.reason
    assert "10.1016/j.echo.2014.10.003" in assessment.sources[0]


@pytest.mark.parametrize(
    ("mass_index", "rwt", "sex", "words"),
    [
        (120.0, 0.5, None, "sex"),
        (120.0, 0.5, "O", "sex"),
        (None, 0.5, "F", "height and weight"),
        (120.0, None, "F", "wall thicknesses"),
    ],
)
def test_without_sex_or_size_there_is_no_category_but_a_reason(mass_index, rwt, sex, words: str) -> None:
    assessment = assess_lvh(mass_index, rwt, sex)
    assert assessment.category is None
    assert assessment.reason.startswith("no category: ")
    assert words in assessment.reason


def test_missing_and_coinciding_points_are_refused() -> None:
    spacing = Spacing(0.5, 0.5)
    points = line_points(spacing, 90, (10, 45, 10))
    with pytest.raises(MeasureError, match="posterior_wall_epicardium are missing"):
        measure_walls({k: v for k, v in points.items() if k is not WallPoint.POSTERIOR_WALL_EPICARDIUM}, spacing)
    with pytest.raises(MeasureError, match="IVSd of 0 mm"):
        measure_walls({**points, WallPoint.SEPTUM_LV_SIDE: points[WallPoint.SEPTUM_RV_SIDE]}, spacing)
