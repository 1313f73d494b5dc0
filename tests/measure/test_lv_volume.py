"""Volumes of half-ellipsoids against the closed form; scaling, rotation and spacing as properties."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_files import shared_data
from ventricles import half_ellipse, half_ellipsoid_ml

from echoapex.domain import Flag, Spacing
from echoapex.measure import (
    LvShape,
    MeasureError,
    area_length_volume,
    biplane_volume,
    ejection_fraction_percent,
    lv_shape_of_outline,
    measure_lv_shape,
    single_plane_volume,
)
from echoapex.metrics import pearson

SPACING = Spacing(row_mm=0.5, column_mm=0.5)
spacings = st.builds(Spacing, row_mm=st.floats(0.3, 1.0), column_mm=st.floats(0.3, 1.0))


def shape(spacing: Spacing = SPACING, with_atrium: bool = True, **form: float) -> LvShape:
    lv, atrium = half_ellipse(spacing, **form)
    return measure_lv_shape(lv, spacing, atrium if with_atrium else None)


@given(spacings, st.floats(30, 60), st.floats(65, 110), st.floats(0, 360), st.booleans())
@settings(max_examples=25, deadline=None)
def test_half_ellipsoids_have_their_analytic_volume_whatever_the_spacing_and_the_angle(
    spacing: Spacing, width: float, length: float, degrees: float, with_atrium: bool
) -> None:
    found = shape(spacing, with_atrium, width_mm=width, length_mm=length, turned_degrees=degrees)
    truth = half_ellipsoid_ml(width, width, length)
    assert found.length == pytest.approx(length, abs=2.5)
    assert single_plane_volume(found) == pytest.approx(truth, rel=0.05)
    assert area_length_volume(found) == pytest.approx(truth, rel=0.05)


def test_biplane_volume_of_an_ellipsoid_with_two_widths() -> None:
    found = biplane_volume(shape(width_mm=50.0), shape(Spacing(0.4, 0.7), width_mm=38.0))
    assert found.volume_ml == pytest.approx(half_ellipsoid_ml(50, 38, 84), rel=0.03)
    assert found.flags == ()


def test_a_foreshortened_plane_is_flagged_and_the_longer_axis_used() -> None:
    whole, foreshortened = shape(length_mm=90.0), shape(length_mm=70.0)
    found = biplane_volume(whole, foreshortened)
    assert found.flags == (Flag.PLANES_DISAGREE,)
    assert found.length_difference_percent == pytest.approx(100 * 20 / 90, abs=1.5)
    assert found.volume_ml == pytest.approx(half_ellipsoid_ml(44, 44, 90), rel=0.03)


@pytest.mark.parametrize(("length_mm", "is_flagged"), [(86.0, False), (83.0, False), (77.0, True)])
def test_planes_disagree_from_ten_percent_of_length(length_mm: float, is_flagged: bool) -> None:
    found = biplane_volume(shape(length_mm=90.0), shape(length_mm=length_mm))
    assert (Flag.PLANES_DISAGREE in found.flags) is is_flagged


@given(spacings, st.floats(0.5, 3.0))
@settings(max_examples=20, deadline=None)
def test_areas_scale_with_spacing_squared_and_volumes_with_its_cube(spacing: Spacing, factor: float) -> None:
    lv, atrium = half_ellipse(SPACING)
    small = measure_lv_shape(lv, spacing, atrium)
    large = measure_lv_shape(lv, Spacing(spacing.row_mm * factor, spacing.column_mm * factor), atrium)
    assert large.length == pytest.approx(small.length * factor)
    assert large.area == pytest.approx(small.area * factor**2)
    assert single_plane_volume(large) == pytest.approx(single_plane_volume(small) * factor**3)
    assert area_length_volume(large) == pytest.approx(area_length_volume(small) * factor**3)


@given(st.floats(0.2, 1.5), st.floats(25, 40))
@settings(max_examples=20, deadline=None)
def test_ejection_fraction_does_not_depend_on_calibration(mm_per_pixel: float, systolic_width: float) -> None:
    ed, es = half_ellipse(SPACING), half_ellipse(SPACING, width_mm=systolic_width, length_mm=74.0)
    calibrated, relative = (
        ejection_fraction_percent(*(single_plane_volume(measure_lv_shape(lv, spacing, la)) for lv, la in (ed, es)))
        for spacing in (Spacing(mm_per_pixel, mm_per_pixel), None)
    )
    truth = 100 * (1 - systolic_width**2 * 74 / (44**2 * 84))
    assert calibrated == pytest.approx(relative)
    assert relative == pytest.approx(truth, abs=2.0)


def test_ejection_fraction_of_an_upright_ventricle_survives_a_stretched_image() -> None:
    """CAMUS at 224 x 224 is stretched: discs of an upright ventricle still give its EF."""
    values = []
    for spacing in (SPACING, Spacing(0.4, 0.8)):
        ed, es = half_ellipse(spacing), half_ellipse(spacing, width_mm=32.0, length_mm=74.0)
        volumes = (single_plane_volume(measure_lv_shape(lv, None, atrium)) for lv, atrium in (ed, es))
        values.append(ejection_fraction_percent(*volumes))
    assert values[0] == pytest.approx(values[1], abs=1.5)


def test_points_come_back_in_native_pixels() -> None:
    spacing = Spacing(row_mm=0.4, column_mm=0.8)
    found = shape(spacing)
    assert found.base_xy == pytest.approx((100 / 0.8, 142 / 0.4), abs=2)
    assert found.apex_xy == pytest.approx((100 / 0.8, 58 / 0.4), abs=3)
    assert found.annulus_xy is not None
    opening_mm = 2 * 0.45 * 44 * np.sqrt(1 - (15 / 20) ** 2)
    assert abs(found.annulus_xy[0][0] - found.annulus_xy[1][0]) * 0.8 == pytest.approx(opening_mm + 2, abs=3)


def test_a_traced_contour_measures_like_its_mask() -> None:
    lv, _ = half_ellipse(SPACING)
    from_mask = measure_lv_shape(lv, SPACING)
    from_contour = lv_shape_of_outline(from_mask.outline_xy[::3], SPACING)
    assert single_plane_volume(from_contour) == pytest.approx(single_plane_volume(from_mask), rel=0.01)


def test_a_ventricle_at_the_edge_is_measured_and_flagged() -> None:
    lv, atrium = half_ellipse(SPACING, size_mm=200.0)
    cut = slice(0, 200)  # through the middle of the cavity
    assert measure_lv_shape(lv[:, cut], SPACING, atrium[:, cut]).flags == (Flag.STRUCTURE_CUT_OFF,)
    assert measure_lv_shape(lv, SPACING, atrium).flags == ()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: measure_lv_shape(np.zeros((50, 50), bool), SPACING), "mask is empty"),
        (lambda: measure_lv_shape(np.eye(50, dtype=bool)[:, :50], SPACING), "too small|no area"),
        (lambda: biplane_volume(shape(), measure_lv_shape(half_ellipse(SPACING)[0], None)), "single-plane"),
        (lambda: ejection_fraction_percent(50, 60), "which frames are ED and ES"),
        (lambda: ejection_fraction_percent(0, 0), "of 0"),
        (lambda: ejection_fraction_percent(float("nan"), 10), "no EF"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_words(call, words: str) -> None:
    with pytest.raises(MeasureError, match=words):
        call()


def test_discs_on_expert_masks_follow_the_reference_ef_of_camus() -> None:
    folder = shared_data("camus224")
    with (folder / "patients_info.csv").open(encoding="utf-8") as file:
        reference = {row["Patient"]: float(row["EF"]) for row in csv.DictReader(file)}
    archive = np.load(folder / "camus224.npz")
    masks, patients = archive["mask"], archive["patient"]
    measured, truth = [], []
    for index in range(0, len(patients), 9):
        ef = []
        for view in (0, 1):
            ed, es = (measure_lv_shape(m == 1, None, m == 3) for m in masks[index, view])
            assert ed.annulus_xy is not None
            ef.append(ejection_fraction_percent(single_plane_volume(ed), single_plane_volume(es)))
        measured.append(np.mean(ef))
        truth.append(reference[str(patients[index])])
    # the reference of the newer release lies about 8 points below discs on the masks: correlation is what counts
    assert pearson(truth, measured) > 0.9
