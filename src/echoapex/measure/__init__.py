"""Clinical arithmetic: volumes, walls, beats, and how values of several clips become one. Every formula is cited."""

from echoapex.measure.errors import MeasureError
from echoapex.measure.lv_volume import (
    BiplaneVolume,
    LvShape,
    area_length_volume,
    biplane_volume,
    ejection_fraction_percent,
    lv_shape_of_outline,
    measure_lv_shape,
    single_plane_volume,
)
from echoapex.measure.outline import is_cut_off, trace_outline

__all__ = [
    "BiplaneVolume",
    "LvShape",
    "MeasureError",
    "area_length_volume",
    "biplane_volume",
    "ejection_fraction_percent",
    "is_cut_off",
    "lv_shape_of_outline",
    "measure_lv_shape",
    "single_plane_volume",
    "trace_outline",
]
