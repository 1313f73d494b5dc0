"""Left ventricular volume and ejection fraction from the LV cavity in apical views: method of discs and area-length.

Source: Lang et al., Recommendations for Cardiac Chamber Quantification by Echocardiography in Adults, ASE/EACVI 2015,
doi 10.1016/j.echo.2014.10.003, section 2. Volumes in mL need a calibrated ``Spacing``. Without it, lengths are in
pixels, and only ratios such as the ejection fraction are meaningful.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from echoapex.domain import Flag, Sector, Spacing
from echoapex.measure.outline import (
    LongAxis,
    MeasureError,
    Outline,
    chord_lengths,
    find_long_axis,
    is_cut_off,
    polygon_area,
    trace_outline,
)

DISCS = 20
"""Number of discs (Lang et al. 2015)."""

_CHORDS_PER_DISC = 8
_MM3_PER_ML = 1000.0
_LENGTH_TOLERANCE_PERCENT = 10.0
_SMALLEST_LENGTH_PX = 10.0


@dataclass(frozen=True, eq=False)
class LvShape:
    """The LV cavity in one long-axis frame, ready for the volume formulas.

    ``base_xy``, ``apex_xy``, ``annulus_xy`` (ends of the mitral plane, if the atrium shows it) and ``outline_xy`` are
    in native pixels. ``disc_diameters`` (20, from base to apex), ``length`` and ``area`` are in mm and mm2 if
    ``spacing`` is known, else in pixels.
    """

    base_xy: tuple[float, float]
    apex_xy: tuple[float, float]
    annulus_xy: tuple[tuple[float, float], tuple[float, float]] | None
    outline_xy: Outline
    disc_diameters: Float[np.ndarray, "20"]
    length: float
    area: float
    spacing: Spacing | None
    flags: tuple[Flag, ...] = ()

    @property
    def is_calibrated(self) -> bool:
        """Whether lengths are in mm."""
        return self.spacing is not None


def measure_lv_shape(
    lv_mask: Bool[np.ndarray, "height width"],
    spacing: Spacing | None,
    left_atrium_mask: Bool[np.ndarray, "height width"] | None = None,
    sector: Sector | None = None,
    probe_xy: tuple[float, float] | None = None,
) -> LvShape:
    """Measure outline, long axis and twenty discs of an LV cavity mask (its largest part, holes filled).

    ``left_atrium_mask`` shows where the mitral plane is. Without an atrium, ``probe_xy`` (the apex of the fan in native
    pixels) tells base from apex. A cavity that is cut off by ``sector`` or the image edge is measured and flagged.

    Raises:
        MeasureError: the mask is empty, or too small for discs.
    """
    outline_xy = trace_outline(lv_mask)
    has_atrium = left_atrium_mask is not None and bool(np.any(left_atrium_mask))
    atrium_xy = trace_outline(left_atrium_mask) if left_atrium_mask is not None and has_atrium else None
    height, width = np.shape(lv_mask)
    flags = (Flag.STRUCTURE_CUT_OFF,) if is_cut_off(outline_xy, (height, width), sector) else ()
    return lv_shape_of_outline(outline_xy, spacing, atrium_xy, probe_xy, flags)


def lv_shape_of_outline(
    outline_xy: Outline,
    spacing: Spacing | None,
    left_atrium_xy: Outline | None = None,
    probe_xy: tuple[float, float] | None = None,
    flags: tuple[Flag, ...] = (),
) -> LvShape:
    """As :func:`measure_lv_shape`, from a closed contour in native pixels, traced by a person or ``trace_outline``.

    A half-ellipse 40 mm wide and 80 mm long:

    >>> angle = np.linspace(0, np.pi, 400)
    >>> outline_mm = np.column_stack([20 * np.cos(angle), 80 * np.sin(angle)])
    >>> shape = lv_shape_of_outline(outline_mm / 0.5, Spacing(row_mm=0.5, column_mm=0.5))
    >>> round(shape.length, 1), round(shape.area / (np.pi * 20 * 80 / 2), 3)
    (80.0, 1.0)

    Raises:
        MeasureError: the contour has no area, or is too small for discs.
    """
    unit_xy = np.array([spacing.column_mm, spacing.row_mm]) if spacing else np.ones(2)
    outline = np.asarray(outline_xy, dtype=np.float64) * unit_xy
    atrium = None if left_atrium_xy is None else np.asarray(left_atrium_xy, dtype=np.float64) * unit_xy
    probe = None if probe_xy is None else np.asarray(probe_xy, dtype=np.float64) * unit_xy
    axis = find_long_axis(outline, atrium, probe)
    length_px = float(np.linalg.norm((axis.apex - axis.base) / unit_xy))
    if length_px < _SMALLEST_LENGTH_PX:
        raise MeasureError(
            f"the LV is {length_px:.0f} pixels long, too small for {DISCS} discs; check the segmentation"
        )
    return LvShape(
        base_xy=_as_point(axis.base / unit_xy),
        apex_xy=_as_point(axis.apex / unit_xy),
        annulus_xy=None
        if axis.annulus is None
        else (_as_point(axis.annulus[0] / unit_xy), _as_point(axis.annulus[1] / unit_xy)),
        outline_xy=np.asarray(outline_xy, dtype=np.float64),
        disc_diameters=disc_diameters(outline, axis),
        length=axis.length,
        area=polygon_area(outline),
        spacing=spacing,
        flags=flags,
    )


def disc_diameters(outline: Outline, axis: LongAxis) -> Float[np.ndarray, "20"]:
    """Diameters of 20 discs of equal height across the axis, from base to apex, in the unit of the outline.

    Each diameter is the mean of 8 chords through its disc, which averages out the pixel staircase.
    """
    along = (axis.apex - axis.base) / axis.length
    levels = (np.arange(DISCS * _CHORDS_PER_DISC) + 0.5) * axis.length / (DISCS * _CHORDS_PER_DISC)
    chords = chord_lengths(outline - axis.base, along, levels)
    diameters: Float[np.ndarray, "20"] = np.reshape(chords, (DISCS, _CHORDS_PER_DISC)).mean(axis=1)
    return diameters


def disc_summation(
    first_diameters: Float[np.ndarray, "20"], second_diameters: Float[np.ndarray, "20"], length: float
) -> float:
    """Method of discs (modified Simpson) with elliptic discs of equal height: ``pi / 4 * sum(a_i * b_i) * L / 20``.

    The unit is the cube of the unit of length. Source: Lang et al. 2015, section 2; Schiller et al. 1989.

    >>> cylinder_mm3 = disc_summation(np.full(20, 40.0), np.full(20, 40.0), 80.0)
    >>> round(cylinder_mm3 / (np.pi * 20**2 * 80), 9)
    1.0
    """
    first, second = np.asarray(first_diameters, dtype=np.float64), np.asarray(second_diameters, dtype=np.float64)
    return float(np.pi / 4 * np.sum(first * second) * length / len(first))


def area_length(area: float, length: float) -> float:
    """Area-length method: ``8 / (3 pi) * A^2 / L``; exact for an ellipsoid and for a half-ellipsoid.

    Source: Lang et al. 2015, section 2; Dodge et al., Am Heart J 1960, doi 10.1016/0002-8703(60)90359-8.

    >>> half_ellipse = np.pi * 20 * 80 / 2
    >>> round(area_length(half_ellipse, 80.0) / (2 / 3 * np.pi * 20**2 * 80), 9)
    1.0
    """
    return 8 / (3 * np.pi) * area**2 / length


def single_plane_volume(shape: LvShape) -> float:
    """Single-plane method of discs with circular discs; in mL if calibrated, else cubic pixels (for ratios only)."""
    return disc_summation(shape.disc_diameters, shape.disc_diameters, shape.length) * _volume_unit(shape)


def area_length_volume(shape: LvShape) -> float:
    """Area-length volume from one plane; in mL if calibrated, else cubic pixels (for ratios only)."""
    return area_length(shape.area, shape.length) * _volume_unit(shape)


@dataclass(frozen=True)
class BiplaneVolume:
    """LV volume from two planes; ``length_difference_percent`` above 10 is flagged (foreshortening of one plane)."""

    volume_ml: float
    length_difference_percent: float
    flags: tuple[Flag, ...]


def biplane_volume(four_chamber: LvShape, two_chamber: LvShape) -> BiplaneVolume:
    """Biplane method of discs: ``disc_summation`` with one diameter from each plane and the longer of the two axes.

    Source: Lang et al. 2015, section 2 (the lengths should agree within 10 %).

    Raises:
        MeasureError: a plane is not calibrated; both need the same unit.
    """
    if not (four_chamber.is_calibrated and two_chamber.is_calibrated):
        raise MeasureError("biplane discs need both planes in mm, but one has no spacing; use single-plane EF instead")
    lengths = sorted((four_chamber.length, two_chamber.length))
    volume = disc_summation(four_chamber.disc_diameters, two_chamber.disc_diameters, lengths[1])
    difference = 100 * (lengths[1] - lengths[0]) / lengths[1]
    flags = dict.fromkeys((*four_chamber.flags, *two_chamber.flags))
    if difference > _LENGTH_TOLERANCE_PERCENT:
        flags[Flag.PLANES_DISAGREE] = None
    return BiplaneVolume(volume / _MM3_PER_ML, difference, tuple(flags))


def ejection_fraction_percent(end_diastolic: float, end_systolic: float) -> float:
    """Ejection fraction ``100 * (EDV - ESV) / EDV``, volumes in any common unit (Lang et al. 2015, section 2).

    >>> ejection_fraction_percent(120.0, 48.0)
    60.0

    Raises:
        MeasureError: the end-diastolic volume is not positive, or the end-systolic one is negative or larger.
    """
    if not (np.isfinite(end_diastolic) and np.isfinite(end_systolic) and 0 <= end_systolic <= end_diastolic):
        raise MeasureError(
            f"no EF from an end-diastolic volume of {end_diastolic:g} and an end-systolic one of {end_systolic:g}; "
            "check which frames are ED and ES"
        )
    if end_diastolic == 0:
        raise MeasureError("no EF from an end-diastolic volume of 0; check the segmentation")
    return 100 * (end_diastolic - end_systolic) / end_diastolic


def stroke_volume_ml(end_diastolic_ml: float, end_systolic_ml: float) -> float:
    """Stroke volume of the LV in mL: ``EDV - ESV``. It includes what leaks back through the mitral or aortic valve.

    Source: Lang et al. 2015, section 2 (volumes at end-diastole and end-systole).

    >>> stroke_volume_ml(120.0, 48.0)
    72.0

    Raises:
        MeasureError: the end-systolic volume is negative, or not smaller than the end-diastolic one.
    """
    if not 0 <= end_systolic_ml < end_diastolic_ml:
        raise MeasureError(
            f"no stroke volume from an EDV of {end_diastolic_ml:g} mL and an ESV of {end_systolic_ml:g} mL; "
            "check which frames are ED and ES"
        )
    return end_diastolic_ml - end_systolic_ml


def cardiac_output_l_per_min(stroke_ml: float, heart_rate_bpm: float) -> float:
    """Cardiac output in L/min: stroke volume times heart rate.

    >>> cardiac_output_l_per_min(72.0, 75.0)
    5.4
    """
    return stroke_ml * heart_rate_bpm / 1000


def sphericity_index(shape: LvShape) -> float:
    """Diameter in the middle of the LV divided by its length, without unit; 1 for a sphere.

    The diameter is the mean of the two middle discs. Source: Di Donato et al., Left ventricular geometry in normal and
    post-anterior myocardial infarction patients, Eur J Cardiothorac Surg 2006;29(Suppl 1):S225 (short axis to long
    axis in the apical four-chamber view).

    >>> angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    >>> circle = np.column_stack([30 * np.cos(angle), 30 * np.sin(angle)])
    >>> round(sphericity_index(lv_shape_of_outline(circle, Spacing(row_mm=1.0, column_mm=1.0))), 2)
    1.0
    """
    middle = DISCS // 2
    return float(np.mean(shape.disc_diameters[middle - 1 : middle + 1])) / shape.length


def _volume_unit(shape: LvShape) -> float:
    return 1 / _MM3_PER_ML if shape.is_calibrated else 1.0


def _as_point(point: Float[np.ndarray, "2"]) -> tuple[float, float]:
    return float(point[0]), float(point[1])
