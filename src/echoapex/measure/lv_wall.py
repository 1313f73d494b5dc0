"""LV walls in the parasternal long axis at end-diastole: thickness, mass, relative wall thickness and geometry.

Source: Lang et al., ASE/EACVI 2015, doi 10.1016/j.echo.2014.10.003, section 2 and figure 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np

from echoapex.domain import Spacing, WallPoint
from echoapex.domain.results import LvhAssessment
from echoapex.measure.outline import MeasureError
from echoapex.measure.reference_limits import ReferenceLimits, read_reference_limits
from echoapex.vocabulary import Quantity

MYOCARDIAL_DENSITY_G_PER_ML = 1.04
_MM_PER_CM = 10.0


@dataclass(frozen=True)
class WallThickness:
    """Septum, cavity and posterior wall at end-diastole, in mm.

    Raises:
        MeasureError: a value is not positive.
    """

    ivsd_mm: float
    lvidd_mm: float
    lvpwd_mm: float

    def __post_init__(self) -> None:
        for name, value in (("IVSd", self.ivsd_mm), ("LVIDd", self.lvidd_mm), ("LVPWd", self.lvpwd_mm)):
            if not (np.isfinite(value) and value > 0):
                raise MeasureError(f"{name} of {value:g} mm is not possible; check the wall end points")


def measure_walls(points_xy: Mapping[WallPoint, tuple[float, float]], spacing: Spacing) -> WallThickness:
    """Distances in mm between neighbouring wall end points, which are given in native pixels.

    The points lie where tissue meets blood (or the pericardium), not on leading edges (Lang et al. 2015, section 2).

    >>> line = dict(zip(WallPoint, [(50, 100), (50, 120), (50, 220), (50, 240)], strict=True))
    >>> measure_walls(line, Spacing(row_mm=0.5, column_mm=0.4))
    WallThickness(ivsd_mm=10.0, lvidd_mm=50.0, lvpwd_mm=10.0)

    Raises:
        MeasureError: two neighbouring points coincide, or a point is missing.
    """
    missing = [point.value for point in WallPoint if point not in points_xy]
    if missing:
        raise MeasureError(f"the wall points {', '.join(missing)} are missing; all four are needed")
    ends = [np.asarray(points_xy[point], dtype=np.float64) for point in WallPoint]
    septum, cavity, posterior = (spacing.distance_mm(a, b) for a, b in pairwise(ends))
    return WallThickness(septum, cavity, posterior)


def lv_mass_g(walls: WallThickness) -> float:
    """LV mass by the cube formula, in g: ``0.8 * 1.04 * ((IVSd + LVIDd + LVPWd)^3 - LVIDd^3) + 0.6``, lengths in cm.

    Source: Devereux et al., Am J Cardiol 1986, doi 10.1016/0002-9149(86)90771-X; Lang et al. 2015, section 2.

    >>> round(lv_mass_g(WallThickness(ivsd_mm=10, lvidd_mm=50, lvpwd_mm=10)), 2)
    181.98
    """
    septum, cavity, posterior = (mm / _MM_PER_CM for mm in (walls.ivsd_mm, walls.lvidd_mm, walls.lvpwd_mm))
    return 0.8 * MYOCARDIAL_DENSITY_G_PER_ML * ((septum + cavity + posterior) ** 3 - cavity**3) + 0.6


def relative_wall_thickness(walls: WallThickness) -> float:
    """Relative wall thickness ``2 * LVPWd / LVIDd``, without unit (Lang et al. 2015, section 2).

    >>> relative_wall_thickness(WallThickness(ivsd_mm=10, lvidd_mm=50, lvpwd_mm=10))
    0.4
    """
    return 2 * walls.lvpwd_mm / walls.lvidd_mm


class LvGeometry(StrEnum):
    """The four geometries of the left ventricle (Lang et al. 2015, figure 5)."""

    NORMAL = "normal geometry"
    CONCENTRIC_REMODELLING = "concentric remodelling"
    CONCENTRIC_HYPERTROPHY = "concentric hypertrophy"
    ECCENTRIC_HYPERTROPHY = "eccentric hypertrophy"


def classify_geometry(mass_is_high: bool, walls_are_thick: bool) -> LvGeometry:
    """LV geometry from mass index and relative wall thickness (Lang et al. 2015, figure 5).

    >>> classify_geometry(mass_is_high=True, walls_are_thick=False).value
    'eccentric hypertrophy'
    """
    if mass_is_high:
        return LvGeometry.CONCENTRIC_HYPERTROPHY if walls_are_thick else LvGeometry.ECCENTRIC_HYPERTROPHY
    return LvGeometry.CONCENTRIC_REMODELLING if walls_are_thick else LvGeometry.NORMAL


def assess_lvh(
    lv_mass_index_g_per_m2: float | None,
    rwt: float | None,
    sex: str | None,
    limits: ReferenceLimits | None = None,
) -> LvhAssessment:
    """LV geometry by sex-specific limits; or no category, with the reason.

    ``sex`` is the DICOM patient sex, ``F`` or ``M``; for ``O`` and unknown there are no limits, so no category.
    ``lv_mass_index_g_per_m2`` is None if mass, height or weight is unknown.
    Source: Lang et al. 2015, figure 5 and table 6, read from ``measure/reference/ase2015.json``.

    >>> assess_lvh(120.0, 0.50, "M").category
    'concentric hypertrophy'
    >>> assess_lvh(120.0, 0.50, None).reason
    "no category: the patient's sex is not known as F or M, and the limits of LV mass index differ by sex"
    """
    limits = limits or read_reference_limits()
    upper_mass = limits.upper_mass_index(sex)
    reason = _why_no_category(lv_mass_index_g_per_m2, rwt, upper_mass)
    if reason or lv_mass_index_g_per_m2 is None or rwt is None or upper_mass is None:
        return LvhAssessment(category=None, reason=f"no category: {reason}", sources=(limits.source,))
    upper_rwt = limits.upper_relative_wall_thickness
    geometry = classify_geometry(
        limits.rounded(Quantity.LV_MASS_INDEX, lv_mass_index_g_per_m2) > upper_mass,
        limits.rounded(Quantity.RWT, rwt) > upper_rwt,
    )
    reason = (
        f"LV mass index {lv_mass_index_g_per_m2:.0f} g/m2 (limit {upper_mass:g}), "
        f"relative wall thickness {rwt:.2f} (limit {upper_rwt:g})"
    )
    return LvhAssessment(category=geometry.value, reason=reason, sources=(limits.source,))


def _why_no_category(mass_index: float | None, rwt: float | None, upper_mass: float | None) -> str:
    if rwt is None:
        return "the wall thicknesses were not measured"
    if mass_index is None:
        return "LV mass index needs the LV mass and the patient's height and weight, which are not all known"
    if upper_mass is None:
        return "the patient's sex is not known as F or M, and the limits of LV mass index differ by sex"
    return ""
