"""Strain, sphericity, stroke volume and output against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from ventricles import half_ellipse

from echoapex.domain import Spacing
from echoapex.measure import (
    LvShape,
    MeasureError,
    cardiac_output_l_per_min,
    endocardial_length,
    longitudinal_strain_percent,
    measure_lv_shape,
    sphericity_index,
    stroke_volume_ml,
)

SPACING = Spacing(row_mm=0.5, column_mm=0.8)


def ventricle(width_mm: float, length_mm: float, turned: float = 0.0, spacing: Spacing = SPACING) -> LvShape:
    cavity, atrium = half_ellipse(spacing, width_mm, length_mm, turned)
    return measure_lv_shape(cavity, spacing, atrium)


def arc_mm(width_mm: float, length_mm: float) -> float:
    """Length of half an ellipse over the apex, from 3 % of its length above its base, by many chords."""
    lowest = np.arcsin(0.03)
    angle = np.linspace(lowest, np.pi - lowest, 100_001)
    points = np.column_stack([width_mm / 2 * np.cos(angle), length_mm * np.sin(angle)])
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


@pytest.mark.parametrize("turned", [0.0, 20.0, -35.0])
@pytest.mark.parametrize(("width_mm", "length_mm"), [(44.0, 84.0), (60.0, 90.0)])
def test_the_length_is_that_of_the_arc_and_not_of_its_pixel_steps(
    width_mm: float, length_mm: float, turned: float
) -> None:
    assert endocardial_length(ventricle(width_mm, length_mm, turned)) == pytest.approx(
        arc_mm(width_mm, length_mm), rel=0.02
    )


@pytest.mark.parametrize("strain", [-5.0, -12.0, -20.0, -28.0])
def test_a_ventricle_that_shrinks_evenly_has_the_strain_of_its_scale(strain: float) -> None:
    scale = 1 + strain / 100
    lengths = [endocardial_length(ventricle(44.0 * each, 84.0 * each)) for each in (1.0, scale)]
    assert longitudinal_strain_percent(*lengths) == pytest.approx(strain, abs=0.8)


def test_strain_needs_no_calibration_where_pixels_are_square() -> None:
    unit = Spacing(row_mm=0.6, column_mm=0.6)
    cavities = [half_ellipse(unit, 44.0 * scale, 84.0 * scale) for scale in (1.0, 0.82)]
    strains = [
        longitudinal_strain_percent(*(endocardial_length(measure_lv_shape(lv, each, la)) for lv, la in cavities))
        for each in (unit, None)
    ]
    assert strains[0] == pytest.approx(strains[1])


def test_no_strain_without_the_mitral_plane() -> None:
    cavity, _ = half_ellipse(SPACING)
    with pytest.raises(MeasureError, match="mitral plane was not found"):
        endocardial_length(measure_lv_shape(cavity, SPACING))


@pytest.mark.parametrize("lengths", [(100.0, 101.0), (0.0, 0.0), (100.0, 0.0), (float("nan"), 5.0)])
def test_a_contour_that_does_not_shorten_has_no_strain(lengths: tuple[float, float]) -> None:
    with pytest.raises(MeasureError, match="no strain"):
        longitudinal_strain_percent(*lengths)


def test_sphericity_of_half_an_ellipse() -> None:
    """Half way to the apex, half an ellipse has the square root of three quarters of its width."""
    assert sphericity_index(ventricle(50.0, 80.0)) == pytest.approx(50 * 0.75**0.5 / 80, rel=0.02)
    assert sphericity_index(ventricle(50.0, 60.0)) > sphericity_index(ventricle(50.0, 80.0))


def test_stroke_volume_and_output() -> None:
    assert stroke_volume_ml(150.0, 60.0) == 90.0
    assert cardiac_output_l_per_min(90.0, 60.0) == pytest.approx(5.4)
    for volumes in ((60.0, 60.0), (60.0, 90.0), (60.0, -1.0), (float("nan"), 10.0)):
        with pytest.raises(MeasureError, match="no stroke volume"):
            stroke_volume_ml(*volumes)
