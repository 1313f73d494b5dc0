"""Volume of the atria and area of the right ventricle, from outlines in apical views.

Sources: Lang et al., ASE/EACVI 2015, doi 10.1016/j.echo.2014.10.003, sections on the left atrium, the right ventricle
and the right atrium. The atria are measured at ventricular end-systole, when they are largest. The right ventricle is
measured by its area, because no plane shows its shape.

The long axis of an atrium runs through the middle of its valve plane (where it borders its ventricle), at right angles
to this plane, from the border to the roof. Without the ventricle in the picture there is no valve plane, and no volume.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from echoapex.domain import Flag, Sector, Spacing
from echoapex.measure.lv_volume import BiplaneVolume, area_length, disc_diameters, disc_summation
from echoapex.measure.outline import (
    LongAxis,
    MeasureError,
    Outline,
    Point,
    find_valve_plane,
    is_cut_off,
    polygon_area,
    trace_outline,
)

LENGTH_TOLERANCE_PERCENT = 10.0
"""Largest difference of the two axes of one atrium without a flag, as for the LV (ours for the atrium)."""

# Lengths relative to the square root of the atrial area (about 40 mm in an adult at end-systole). Both are wider than
# for the LV: an atrium is round where it meets the valve, and at end-systole the closed leaflets lie between (ours).
_BORDER_TOLERANCE = 0.06
_LARGEST_GAP = 0.25

_MM3_PER_ML = 1000.0
_MM2_PER_CM2 = 100.0
_SMALLEST_LENGTH_PX = 10.0


@dataclass(frozen=True, eq=False)
class AtrialShape:
    """One atrium in one apical frame, ready for the volume formulas.

    ``annulus_xy`` (ends of the valve plane), ``roof_xy`` and ``outline_xy`` are in native pixels. ``disc_diameters``
    (20, from the valve to the roof), ``length`` and ``area`` are in mm and mm2.
    """

    annulus_xy: tuple[tuple[float, float], tuple[float, float]]
    roof_xy: tuple[float, float]
    outline_xy: Outline
    disc_diameters: Float[np.ndarray, "20"]
    length: float
    area: float
    flags: tuple[Flag, ...] = ()


def measure_atrial_shape(
    atrium_mask: Bool[np.ndarray, "height width"],
    ventricle_mask: Bool[np.ndarray, "height width"],
    spacing: Spacing,
    sector: Sector | None = None,
) -> AtrialShape:
    """Measure outline, long axis and twenty discs of an atrium (the largest part of its mask, holes filled).

    An atrium that is cut off by ``sector`` or the image edge is measured and flagged.

    Raises:
        MeasureError: a mask is empty, the two do not border each other, or the atrium is too small.
    """
    outline_xy = trace_outline(atrium_mask)
    height, width = np.shape(atrium_mask)
    flags = (Flag.STRUCTURE_CUT_OFF,) if is_cut_off(outline_xy, (height, width), sector) else ()
    return atrial_shape_of_outline(outline_xy, trace_outline(ventricle_mask), spacing, flags)


def atrial_shape_of_outline(
    outline_xy: Outline, ventricle_xy: Outline, spacing: Spacing, flags: tuple[Flag, ...] = ()
) -> AtrialShape:
    """As :func:`measure_atrial_shape`, from closed contours of an atrium and its ventricle in native pixels.

    Half an ellipse, 40 mm wide and 50 mm long, below a square ventricle:

    >>> angle = np.linspace(0, np.pi, 400)
    >>> atrium_mm = np.column_stack([20 * np.cos(angle), 50 * np.sin(angle)])
    >>> ventricle_mm = np.array([[-20.0, 0.0], [20.0, 0.0], [20.0, -40.0], [-20.0, -40.0]])
    >>> shape = atrial_shape_of_outline(atrium_mm / 0.5, ventricle_mm / 0.5, Spacing(row_mm=0.5, column_mm=0.5))
    >>> round(shape.length), round(shape.area / (np.pi * 20 * 50 / 2), 3)
    (50, 1.0)

    Raises:
        MeasureError: the contours do not border each other, or the atrium has no area or is too small.
    """
    unit_xy = np.array([spacing.column_mm, spacing.row_mm])
    outline = np.asarray(outline_xy, dtype=np.float64) * unit_xy
    ventricle = np.asarray(ventricle_xy, dtype=np.float64) * unit_xy
    annulus = find_valve_plane(outline, ventricle, _BORDER_TOLERANCE, _LARGEST_GAP)
    if annulus is None:
        raise MeasureError("the atrium does not border its ventricle, so that it has no valve plane; check both masks")
    axis = _axis_to_roof(outline, annulus)
    length_px = float(np.linalg.norm((axis.apex - axis.base) / unit_xy))
    if length_px < _SMALLEST_LENGTH_PX:
        raise MeasureError(f"the atrium is {length_px:.0f} pixels long, too small for discs; check the segmentation")
    ends = [_as_point(end / unit_xy) for end in annulus]
    return AtrialShape(
        annulus_xy=(ends[0], ends[1]),
        roof_xy=_as_point(axis.apex / unit_xy),
        outline_xy=np.asarray(outline_xy, dtype=np.float64),
        disc_diameters=disc_diameters(outline, axis),
        length=axis.length,
        area=polygon_area(outline),
        flags=flags,
    )


def atrial_disc_volume_ml(shape: AtrialShape) -> float:
    """Atrial volume by single-plane discs (circular discs), in mL (Lang et al. 2015)."""
    return disc_summation(shape.disc_diameters, shape.disc_diameters, shape.length) / _MM3_PER_ML


def atrial_area_length_volume_ml(shape: AtrialShape) -> float:
    """Atrial volume from one plane by area-length, in mL: ``8 / (3 pi) * A^2 / L`` (Lang et al. 2015)."""
    return area_length(shape.area, shape.length) / _MM3_PER_ML


def biplane_atrial_disc_volume(four_chamber: AtrialShape, two_chamber: AtrialShape) -> BiplaneVolume:
    """Left atrial volume by biplane discs, with one diameter from each plane and the longer of the two axes.

    Source: Lang et al. 2015, section on the left atrium.
    """
    longer = max(four_chamber.length, two_chamber.length)
    volume = disc_summation(four_chamber.disc_diameters, two_chamber.disc_diameters, longer)
    return _of_two_planes(volume, four_chamber, two_chamber)


def biplane_atrial_area_length_volume(four_chamber: AtrialShape, two_chamber: AtrialShape) -> BiplaneVolume:
    """Left atrial volume by biplane area-length: ``8 / (3 pi) * A1 * A2 / L`` with the shorter of the two axes.

    Source: Lang et al. 2015, section on the left atrium.
    """
    shorter = min(four_chamber.length, two_chamber.length)
    volume = area_length((four_chamber.area * two_chamber.area) ** 0.5, shorter)
    return _of_two_planes(volume, four_chamber, two_chamber)


def chamber_area_cm2(outline_xy: Outline, spacing: Spacing | None) -> float:
    """Area of a closed contour in native pixels, in cm2; without spacing in square pixels (for ratios only).

    >>> square = np.array([[0.0, 0.0], [100.0, 0.0], [100.0, 100.0], [0.0, 100.0]])
    >>> chamber_area_cm2(square, Spacing(row_mm=0.5, column_mm=0.4))
    20.0
    """
    area_px = polygon_area(np.asarray(outline_xy, dtype=np.float64))
    return area_px * spacing.row_mm * spacing.column_mm / _MM2_PER_CM2 if spacing else area_px


def fractional_area_change_percent(end_diastolic: float, end_systolic: float) -> float:
    """Fractional area change of the RV: ``100 * (EDA - ESA) / EDA``, areas in any common unit (Lang et al. 2015).

    >>> fractional_area_change_percent(20.0, 11.0)
    45.0

    Raises:
        MeasureError: the end-diastolic area is not positive, or the end-systolic one is negative or larger.
    """
    if not (end_diastolic > 0 and 0 <= end_systolic <= end_diastolic):
        raise MeasureError(
            f"no fractional area change from an end-diastolic area of {end_diastolic:g} and an end-systolic one of "
            f"{end_systolic:g}; check which frames are ED and ES"
        )
    return 100 * (end_diastolic - end_systolic) / end_diastolic


def _axis_to_roof(outline: Outline, annulus: Float[np.ndarray, "2 2"]) -> LongAxis:
    """The line through the middle of the valve plane at right angles to it, from its first to its last crossing."""
    base = annulus.mean(axis=0)
    along = (annulus[1] - annulus[0]) / np.linalg.norm(annulus[1] - annulus[0])
    normal: Point = np.array([-along[1], along[0]])
    if (outline.mean(axis=0) - base) @ normal < 0:
        normal = -normal
    sideways, height = (outline - base) @ along, (outline - base) @ normal
    next_sideways, next_height = np.roll(sideways, -1), np.roll(height, -1)
    crossed = (sideways <= 0) != (next_sideways <= 0)
    share = -sideways[crossed] / (next_sideways - sideways)[crossed]
    reached = height[crossed] + share * (next_height - height)[crossed]
    first, last = float(reached.min(initial=0.0)), float(reached.max(initial=0.0))
    return LongAxis(base + first * normal, base + last * normal, annulus)


def _of_two_planes(volume_mm3: float, first: AtrialShape, second: AtrialShape) -> BiplaneVolume:
    shorter, longer = sorted((first.length, second.length))
    difference = 100 * (longer - shorter) / longer
    flags = dict.fromkeys((*first.flags, *second.flags))
    if difference > LENGTH_TOLERANCE_PERCENT:
        flags[Flag.PLANES_DISAGREE] = None
    return BiplaneVolume(volume_mm3 / _MM3_PER_ML, difference, tuple(flags))


def _as_point(point: Float[np.ndarray, "2"]) -> tuple[float, float]:
    return float(point[0]), float(point[1])
