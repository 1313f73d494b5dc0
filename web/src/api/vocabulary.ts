/** The words of the field: views, structures, flags, wall points. Values are those of the server. */
export const VIEWS: Record<string, string> = {
  A4C: "Apical four-chamber",
  A2C: "Apical two-chamber",
  A3C: "Apical long-axis (three-chamber)",
  A5C: "Apical five-chamber",
  PLAX: "Parasternal long-axis",
  RV_INFLOW: "Right ventricular inflow",
  PSAX_AV: "Parasternal short-axis, aortic valve",
  PSAX_MV: "Parasternal short-axis, mitral valve",
  PSAX_PM: "Parasternal short-axis, papillary muscles",
  PSAX_APEX: "Parasternal short-axis, apex",
  SUBCOSTAL_4C: "Subcostal four-chamber",
  SUBCOSTAL_IVC: "Subcostal inferior vena cava",
  SUPRASTERNAL: "Suprasternal aortic arch",
  TEE_4C: "TEE mid-oesophageal four-chamber",
  TEE_LAX: "TEE mid-oesophageal long-axis",
  TEE_BICAVAL: "TEE mid-oesophageal bicaval",
  ICE_HOME: "ICE home view",
  ICE_LA: "ICE left atrial view",
};

/** The order is the label order: the number of a structure is its place, from 1. */
export const STRUCTURES = [
  { key: "lv_cavity", name: "LV cavity", colour: "#56beff" },
  { key: "lv_myocardium", name: "LV myocardium", colour: "#ffb02e" },
  { key: "left_atrium", name: "Left atrium", colour: "#ec82be" },
  { key: "right_ventricle", name: "Right ventricle", colour: "#30c896" },
  { key: "right_atrium", name: "Right atrium", colour: "#b296ff" },
  { key: "aortic_root", name: "Aortic root", colour: "#f5e65a" },
] as const;

export const COLOUR_OF: Record<string, string> = Object.fromEntries(STRUCTURES.map((s) => [s.key, s.colour]));

export const WALL_POINTS = [
  "septum_rv_side",
  "septum_lv_side",
  "posterior_wall_lv_side",
  "posterior_wall_epicardium",
] as const;

export const WALL_DISTANCES = ["IVSd", "LVIDd", "LVPWd"] as const;

/** The RV internal diameter on the line of the walls, and the points that it lies between. */
export const RV_DIAMETER = { name: "RVIDd", points: ["septum_rv_side", "rv_anterior_border"] } as const;

const FLAGS: Record<string, string> = {
  out_of_plausible_range: "outside the plausible range",
  measured_under_colour_doppler: "measured under colour Doppler",
  low_confidence: "low confidence",
  assumed_frame_rate: "frame rate assumed",
  single_frame: "single frame",
  incomplete_beat: "incomplete beat",
  single_plane: "single plane",
  corrected_spacing: "calibration corrected",
  view_uncertain: "view uncertain",
  methods_disagree: "methods disagree",
  structure_cut_off_by_sector: "cut off by the sector",
  plane_lengths_differ_over_10_percent: "plane lengths differ by over 10 %",
};

export const FLAG_KEYS = Object.keys(FLAGS);

/** A flag in words. */
export function flagText(flag: string): string {
  return FLAGS[flag] ?? flag.replaceAll("_", " ");
}

/** A view in short: PSAX AV. */
export function viewShort(view: string | null): string {
  return view ? view.replaceAll("_", " ").replace("SUBCOSTAL", "SUBC").replace("SUPRASTERNAL", "SSN") : "no view";
}

const UNITS: Record<string, string> = { "1": "", "/min": "/min", cm2: "cm²", m2: "m²", "g/m2": "g/m²", "mL/m2": "mL/m²", "L/min/m2": "L/min/m²" };

/** A unit as people write it. */
export function unitText(unit: string): string {
  return UNITS[unit] ?? unit;
}

/** A number with the digits that its unit deserves. */
export function numberText(value: number, unit: string): string {
  if (unit === "1" || unit === "m2") return value.toFixed(2);
  if (unit === "mm" || unit === "cm2" || unit === "L/min" || unit === "L/min/m2") return value.toFixed(1);
  return value.toFixed(Math.abs(value) < 10 ? 1 : 0);
}
