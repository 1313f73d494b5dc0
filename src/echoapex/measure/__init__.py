"""Clinical arithmetic: volumes, areas, strain, walls, beats, and values of several clips. Every formula is cited."""

from echoapex.measure.cardiac_cycle import Beat, CardiacCycles, detect_cardiac_cycles
from echoapex.measure.chambers import (
    AtrialShape,
    atrial_area_length_volume_ml,
    atrial_disc_volume_ml,
    atrial_shape_of_outline,
    biplane_atrial_area_length_volume,
    biplane_atrial_disc_volume,
    chamber_area_cm2,
    fractional_area_change_percent,
    measure_atrial_shape,
)
from echoapex.measure.combine import combine_measurements, flag_disagreement, flag_implausible
from echoapex.measure.lv_volume import (
    BiplaneVolume,
    LvShape,
    area_length_volume,
    biplane_volume,
    cardiac_output_l_per_min,
    ejection_fraction_percent,
    lv_shape_of_outline,
    measure_lv_shape,
    single_plane_volume,
    sphericity_index,
    stroke_volume_ml,
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
from echoapex.measure.r_waves import find_r_waves
from echoapex.measure.reference_limits import (
    ReferenceLimits,
    body_surface_area_dubois,
    body_surface_area_mosteller,
    index_to_body,
    read_reference_limits,
)
from echoapex.measure.strain import endocardial_length, longitudinal_strain_percent

__all__ = [
    "AtrialShape",
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
    "atrial_area_length_volume_ml",
    "atrial_disc_volume_ml",
    "atrial_shape_of_outline",
    "biplane_atrial_area_length_volume",
    "biplane_atrial_disc_volume",
    "biplane_volume",
    "body_surface_area_dubois",
    "body_surface_area_mosteller",
    "cardiac_output_l_per_min",
    "chamber_area_cm2",
    "combine_measurements",
    "detect_cardiac_cycles",
    "ejection_fraction_percent",
    "endocardial_length",
    "find_r_waves",
    "flag_disagreement",
    "flag_implausible",
    "fractional_area_change_percent",
    "index_to_body",
    "is_cut_off",
    "longitudinal_strain_percent",
    "lv_mass_g",
    "lv_shape_of_outline",
    "measure_atrial_shape",
    "measure_lv_shape",
    "measure_walls",
    "read_reference_limits",
    "relative_wall_thickness",
    "single_plane_volume",
    "sphericity_index",
    "stroke_volume_ml",
    "trace_outline",
]
