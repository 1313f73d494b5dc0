"""Ejection fraction by discs on label maps of known ED and ES frames, for data sets that outline just these two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from echoapex.domain import Spacing
from echoapex.measure.errors import MeasureError
from echoapex.measure.lv_volume import (
    LvShape,
    biplane_volume,
    ejection_fraction_percent,
    measure_lv_shape,
    single_plane_volume,
)
from echoapex.vocabulary import Structure

METHOD = "method of discs on ED and ES outlines: biplane where both views are calibrated, else mean of the planes"


@dataclass(frozen=True, eq=False)
class LongAxisPlane:
    """Label maps of one apical view at ED and ES, in native pixels; ``spacing`` None when uncalibrated."""

    end_diastole: UInt8[np.ndarray, "height width"]
    end_systole: UInt8[np.ndarray, "height width"]
    spacing: Spacing | None


def ejection_fraction_of_outlines(planes: Sequence[LongAxisPlane]) -> float | None:
    """Ejection fraction in per cent; None where an outline is missing or too small for discs.

    Args:
        planes: A4C alone, or A4C and A2C.
    """
    try:
        shapes = [
            (_shape(plane.end_diastole, plane.spacing), _shape(plane.end_systole, plane.spacing)) for plane in planes
        ]
        if len(shapes) == 2 and all(plane.spacing for plane in planes):
            (ed_first, es_first), (ed_second, es_second) = shapes
            return ejection_fraction_percent(
                biplane_volume(ed_first, ed_second).volume_ml, biplane_volume(es_first, es_second).volume_ml
            )
        fractions = [ejection_fraction_percent(single_plane_volume(ed), single_plane_volume(es)) for ed, es in shapes]
    except MeasureError:
        return None
    return float(np.mean(fractions)) if fractions else None


def _shape(labels: UInt8[np.ndarray, "height width"], spacing: Spacing | None) -> LvShape:
    return measure_lv_shape(labels == int(Structure.LV_CAVITY), spacing, labels == int(Structure.LEFT_ATRIUM))
