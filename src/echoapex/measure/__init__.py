"""Clinical arithmetic: volumes, walls, beats, and combining the values of several clips. Every formula is cited."""

from echoapex.measure.cardiac_cycle import Beat, CardiacCycles, detect_cardiac_cycles
from echoapex.measure.combine import combine_measurements, flag_disagreement, flag_implausible
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
from echoapex.measure.lv_wall import (
    LvGeometry,
    WallThickness,
    assess_lvh,
    lv_mass_g,
    measure_walls,
    relative_wall_thickness,
)
from echoapex.measure.outline import MeasureError, is_cut_off, trace_outline
from echoapex.measure.reference_limits import (
    ReferenceLimits,
    body_surface_area_dubois,
    body_surface_area_mosteller,
    index_to_body,
    read_reference_limits,
)

__all__ = [
    "Beat",
    "BiplaneVolume",
    "CardiacCycles",
    "LvGeometry",
    "LvShape",
    "MeasureError",
    "ReferenceLimits",
    "WallThickness",
    "area_length_volume",
    "assess_lvh",
    "biplane_volume",
    "body_surface_area_dubois",
    "body_surface_area_mosteller",
    "combine_measurements",
    "detect_cardiac_cycles",
    "ejection_fraction_percent",
    "flag_disagreement",
    "flag_implausible",
    "index_to_body",
    "is_cut_off",
    "lv_mass_g",
    "lv_shape_of_outline",
    "measure_lv_shape",
    "measure_walls",
    "read_reference_limits",
    "relative_wall_thickness",
    "single_plane_volume",
    "trace_outline",
]
