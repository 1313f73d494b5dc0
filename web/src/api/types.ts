/** Shapes of the HTTP interface, version 1. Points are native pixels (x, y); sizes are (height, width). */
export type Point = [number, number];
export type Size = [number, number];
export type StudyState = "queued" | "analysing" | "ready" | "failed" | "signed";
export type Role = "reader" | "reviewer" | "admin";

export interface Session {
  user: string;
  role: Role;
  csrf: string;
  version: string;
  disclaimer: string;
  weights: { name: string; note: string; site_version: number | string | null };
  needs_login: boolean;
}

export interface StudyRow {
  study: string;
  label: string;
  /** Seconds since 1970. */
  received: number;
  state: StudyState;
  progress: number;
  clips: number;
  clips_done: number;
  views: Record<string, number>;
  flags: string[];
  quality: number | null;
  ef_percent: number | null;
  ef_method: string;
  lvh: string | null;
  error: string;
  reviewed: boolean;
  signed_by: string;
}

export interface Evidence {
  clip_id: string;
  frames: number[];
  contours_xy: Record<string, Point[]>;
  points_xy: Record<string, Point>;
  row_mm: number | null;
  column_mm: number | null;
  calibration_source: string;
}

export interface Measurement {
  quantity: string;
  value: number;
  unit: string;
  interval: [number, number] | null;
  method: string;
  confidence: number | null;
  flags: string[];
  evidence: Evidence[];
}

export type ValueState = "open" | "approved" | "edited" | "rejected";

export interface Value extends Measurement {
  id: string;
  name: string;
  limits: { low: number | null; high: number | null; source: string } | null;
  category: string;
  state: ValueState;
  original: number | null;
  edited_by: string;
  reason: string;
  /** The edited or rejected values from which this one was computed again. */
  follows: string[];
  /** Why it no longer fits what was decided, so that no export has it. */
  left_out: string;
}

/** A value after a decision, and what changed with it. */
export interface DecidedValue extends Value {
  others: Value[];
  gone: string[];
}

export interface VolumePoint {
  frame: number;
  time_s: number;
  relative: number;
  ml: number | null;
}

export interface Clip {
  clip: string;
  label: string;
  view: string | null;
  view_probability: number | null;
  view_probabilities: Record<string, number>;
  quality: number | null;
  frames: number;
  size: Size;
  frame_times_s: number[];
  spacing: { row_mm: number; column_mm: number; source: string } | null;
  spacing_reason: string;
  ed_frames: number[];
  es_frames: number[];
  r_wave_times_s: number[];
  r_wave_source: "file" | "ecg_trace" | null;
  ecg: { times_s: number[]; values: number[]; unit: string; origin: "curve" | "waveform" | "waveform_object" } | null;
  volume_curve: VolumePoint[];
  measurements: Measurement[];
  structures: Record<string, number>;
  set_aside: string;
  notes: string[];
  corrected: boolean;
  masked_frames: number[];
  /** Whether its file is there, for pictures and corrections. */
  has_input: boolean;
}

export interface Study {
  study: StudyRow;
  values: Value[];
  clips: Clip[];
  note: string;
  signed: { by: string; when: string; statement: string } | null;
  disagreement: { lvef: number; lvef_discs: number; difference: number; marked: boolean } | null;
  can_undo: boolean;
  can_redo: boolean;
}

export interface Correction {
  clip: Clip | null;
  values: Value[];
  undone?: string;
  can_undo?: boolean;
  can_redo?: boolean;
}

export interface Contours {
  structures: Record<string, Record<string, Point[][]>>;
}

export interface Click {
  x: number;
  y: number;
  positive: boolean;
}

export interface Caliper {
  id: string;
  frame: number;
  from: Point;
  to: Point;
  name: string;
  mm?: number | null;
  reason?: string;
}

export interface AuditEntry {
  when: string;
  who: string;
  what: string;
  where: string;
  before: unknown;
  after: unknown;
}

export interface LearningRun {
  run: string | number;
  task: string;
  state: "queued" | "running" | "done" | "failed" | "stopped";
  step: number;
  steps: number;
  before: Record<string, number>;
  after: Record<string, number>;
  better: boolean;
  /** Both sets on simulated patients; null unless the run was better. */
  check: { before: Record<string, number>; after: Record<string, number>; clips: number; refused: string } | null;
  switched: boolean;
  error: string;
}

export interface Learning {
  tasks: {
    task: string;
    labelled_clips: number;
    patients: number;
    held_back_patients: number;
    enough: boolean;
    why: string;
  }[];
  runs: LearningRun[];
  current: { name: string; version: number | string | null };
  next_best: { study: string; label: string; score: number; reason: string }[];
}

export interface MapPoint {
  study: string;
  clip: string;
  x: number;
  y: number;
  view: string | null;
  ef_percent: number | null;
  vendor: string;
}
