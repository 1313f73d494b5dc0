"""Atria and right ventricle against shapes whose volume and area are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from ventricles import half_ellipsoid_ml

from echoapex.domain import Flag, Sector, Spacing
from echoapex.measure import (
    AtrialShape,
    MeasureError,
    atrial_area_length_volume_ml,
    atrial_disc_volume_ml,
    atrial_shape_of_outline,
    biplane_atrial_area_length_volume,
    biplane_atrial_disc_volume,
    chamber_area_cm2,
    fractional_area_change_percent,
    measure_atrial_shape,
    trace_outline,
)

SPACING = Spacing(row_mm=0.4, column_mm=0.7)
SIZE_MM = 180.0


def heart(width_mm: float, length_mm: float, turned_degrees: float = 0.0, gap_mm: float = 0.0) -> list[np.ndarray]:
    """An atrium (half-ellipse, valve at the top) and the ventricle above it, turned about the middle."""
    rows = (np.arange(round(SIZE_MM / SPACING.row_mm)) * SPACING.row_mm)[:, None] - SIZE_MM / 2
    columns = (np.arange(round(SIZE_MM / SPACING.column_mm)) * SPACING.column_mm)[None] - SIZE_MM / 2
    angle = np.deg2rad(turned_degrees)
    x = np.cos(angle) * columns + np.sin(angle) * rows
    down = -np.sin(angle) * columns + np.cos(angle) * rows
    atrium = (down >= 0) & ((x / (width_mm / 2)) ** 2 + (down / length_mm) ** 2 <= 1)
    ventricle = (down < -gap_mm) & ((x / 22) ** 2 + (down / 75) ** 2 <= 1)
    return [atrium, ventricle]


def shape(width_mm: float, length_mm: float, turned_degrees: float = 0.0, gap_mm: float = 0.0) -> AtrialShape:
    return measure_atrial_shape(*heart(width_mm, length_mm, turned_degrees, gap_mm), SPACING)


@pytest.mark.parametrize("turned_degrees", [0.0, 25.0, -40.0])
@pytest.mark.parametrize(("width_mm", "length_mm"), [(40.0, 50.0), (52.0, 45.0)])
def test_volumes_of_half_an_ellipsoid(turned_degrees: float, width_mm: float, length_mm: float) -> None:
    found, wanted = shape(width_mm, length_mm, turned_degrees), half_ellipsoid_ml(width_mm, width_mm, length_mm)
    assert found.length == pytest.approx(length_mm, rel=0.03)
    assert atrial_disc_volume_ml(found) == pytest.approx(wanted, rel=0.04)
    assert atrial_area_length_volume_ml(found) == pytest.approx(wanted, rel=0.04)
    assert found.flags == ()


def test_two_planes_give_an_ellipsoid_with_three_axes() -> None:
    four, two = shape(40.0, 50.0), shape(48.0, 50.0, turned_degrees=10.0)
    wanted = half_ellipsoid_ml(40.0, 48.0, 50.0)
    for compute in (biplane_atrial_disc_volume, biplane_atrial_area_length_volume):
        found = compute(four, two)
        assert found.volume_ml == pytest.approx(wanted, rel=0.03)
        assert found.flags == ()


def test_discs_take_the_longer_axis_and_area_length_the_shorter() -> None:
    four, two = shape(40.0, 40.0), shape(40.0, 50.0)
    discs, area_length = biplane_atrial_disc_volume(four, two), biplane_atrial_area_length_volume(four, two)
    both = np.pi / 4 * float(four.disc_diameters @ two.disc_diameters) / 20 / 1000
    assert discs.volume_ml == pytest.approx(both * two.length)
    assert area_length.volume_ml == pytest.approx(8 / (3 * np.pi) * four.area * two.area / four.length / 1000)
    assert discs.length_difference_percent == pytest.approx(20, abs=2)
    assert Flag.PLANES_DISAGREE in discs.flags
    assert Flag.PLANES_DISAGREE in area_length.flags


def test_an_atrium_wider_than_long_is_measured_along_the_normal_of_its_valve() -> None:
    """The point farthest from the valve lies at the side here; the axis still goes to the roof."""
    found = shape(80.0, 30.0)
    assert found.length == pytest.approx(30.0, rel=0.05)
    assert atrial_disc_volume_ml(found) == pytest.approx(half_ellipsoid_ml(80.0, 80.0, 30.0), rel=0.05)


def test_closed_leaflets_between_the_two_do_not_matter() -> None:
    assert atrial_disc_volume_ml(shape(40.0, 50.0, gap_mm=5.0)) == pytest.approx(
        atrial_disc_volume_ml(shape(40.0, 50.0)), rel=0.02
    )


def test_without_a_ventricle_beside_it_an_atrium_has_no_volume() -> None:
    with pytest.raises(MeasureError, match="no valve plane"):
        shape(40.0, 50.0, gap_mm=25.0)
    atrium, ventricle = heart(40.0, 50.0)
    with pytest.raises(MeasureError, match="mask is empty"):
        measure_atrial_shape(atrium, np.zeros_like(ventricle), SPACING)
    with pytest.raises(MeasureError, match="too small for discs"):
        atrial_shape_of_outline(trace_outline(atrium) / 40, trace_outline(ventricle) / 40, SPACING)


def test_an_atrium_at_the_edge_of_the_sector_is_flagged() -> None:
    atrium, ventricle = heart(40.0, 50.0)
    height, width = atrium.shape
    right = float(np.nonzero(atrium)[1].max()) - 5
    whole, cut = Sector((0, 0, width, height)), Sector((0, 0, right, height))
    assert measure_atrial_shape(atrium, ventricle, SPACING, whole).flags == ()
    atrium[:, round(right) :] = False
    assert measure_atrial_shape(atrium, ventricle, SPACING, cut).flags == (Flag.STRUCTURE_CUT_OFF,)


def test_area_of_a_disc_and_its_change() -> None:
    y, x = np.mgrid[:200, :200]
    large, small = (
        trace_outline(((x - 100) * 0.7) ** 2 + ((y - 100) * 0.4) ** 2 <= radius_mm**2) for radius_mm in (30.0, 20.0)
    )
    assert chamber_area_cm2(large, SPACING) == pytest.approx(np.pi * 9, rel=0.01)
    for spacing in (SPACING, None):
        change = fractional_area_change_percent(chamber_area_cm2(large, spacing), chamber_area_cm2(small, spacing))
        assert change == pytest.approx(100 * (1 - 4 / 9), abs=0.6)


@pytest.mark.parametrize("areas", [(0.0, 0.0), (10.0, 11.0), (10.0, -1.0), (float("nan"), 5.0)])
def test_an_impossible_change_of_area_is_refused(areas: tuple[float, float]) -> None:
    with pytest.raises(MeasureError, match="no fractional area change"):
        fractional_area_change_percent(*areas)
