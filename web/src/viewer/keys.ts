/** The keyboard of the review. */
import { STRUCTURES } from "../api/vocabulary";
import { EDITING_TOOLS, type Review, type Tool } from "../state/review.svelte";
import { toggleSecond } from "./Transport.svelte";

const TOOLS: Record<string, Tool> = {
  v: "look", w: "window", c: "click", x: "box", b: "brush", e: "eraser", p: "contour", m: "caliper", q: "walls", r: "ruler",
};

interface View {
  zoom: (factor: number) => void;
  fit: () => void;
  audit: () => void;
}

/** Does what a key means; false where it means nothing here. */
export function handleKey(review: Review, event: KeyboardEvent, view: View): boolean {
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if ((key !== "z" && key !== "y") || review.locked) return false;
    void review.step(key === "y" || event.shiftKey ? "redo" : "undo");
    return true;
  }
  if (event.altKey) return false;
  const inControl = (event.target as HTMLElement).closest("button, a, input");
  if (inControl && (key === " " || key === "enter")) return false;
  if (event.target instanceof HTMLInputElement && key.startsWith("arrow")) return false;
  return cineKey(review, key, event.shiftKey) || pictureKey(review, key, view) || drawingKey(review, key) || reportKey(review, key, view);
}

function cineKey(review: Review, key: string, shift: boolean): boolean {
  const { player } = review;
  if (!player) return false;
  const { clip } = player;
  if (key === " ") player.toggle();
  else if (key === "arrowleft") player.step(-1);
  else if (key === "arrowright") player.step(1);
  else if (key === "home") player.seek(0);
  else if (key === "end") player.seek(clip.frames - 1);
  else if (key === "[") player.faster(-1);
  else if (key === "]") player.faster(1);
  else if (key === "l") player.loopBeat = !player.loopBeat;
  else if (key === "arrowup" || key === "arrowdown") nextClip(review, key === "arrowup" ? -1 : 1);
  else if (key === "t") toggleSecond(review);
  else if ((key === "d" || key === "s") && !shift) player.jumpTo(key === "d" ? clip.ed_frames : clip.es_frames);
  else if ((key === "d" || key === "s") && !review.locked) markEvent(review, key === "d");
  else return false;
  return true;
}

function nextClip(review: Review, by: number): void {
  const clips = review.data?.clips ?? [];
  const at = clips.findIndex((clip) => clip.clip === review.clip?.clip);
  const next = clips[Math.min(clips.length - 1, Math.max(0, at + by))];
  if (next) review.openClip(next.clip);
}

/** The nearest marker of the kind moves to this frame; where there is none, one is made. */
function markEvent(review: Review, diastole: boolean): void {
  const { player } = review;
  if (!player) return;
  const before = diastole ? player.clip.ed_frames : player.clip.es_frames;
  const away = (frame: number) => Math.abs(frame - player.frame);
  const nearest = before.reduce((best, frame) => (away(frame) < away(best) ? frame : best), before[0] ?? player.frame);
  const frames = [...new Set([...before.filter((frame) => frame !== nearest), player.frame])].sort((a, b) => a - b);
  void review.correct(diastole ? { ed_frames: frames } : { es_frames: frames });
}

function pictureKey(review: Review, key: string, view: View): boolean {
  if (key === "+" || key === "=") view.zoom(1.25);
  else if (key === "-") view.zoom(0.8);
  else if (key === "f") view.fit();
  else if (key === "o") review.outlines = !review.outlines;
  else if (key === "u") review.features = !review.features;
  else return false;
  return true;
}

function drawingKey(review: Review, key: string): boolean {
  const tool = TOOLS[key];
  const structure = STRUCTURES[Number(key) - 1];
  if (tool) {
    if (review.locked && tool !== "look" && tool !== "window") return false;
    review.tool = tool;
    if (EDITING_TOOLS.includes(tool)) void review.editing.begin();
  } else if (structure) {
    review.structure = structure.key;
    if (EDITING_TOOLS.includes(review.tool)) void review.editing.begin();
  } else if (key === "," || key === ".") {
    review.editing.brush = Math.min(60, Math.max(1, review.editing.brush + (key === "," ? -2 : 2)));
  } else if (key === "g" && !review.locked) void review.editing.propagate();
  else if (key === "delete" || key === "backspace") void review.distances.removeLast();
  else if (key === "escape") review.tool = "look";
  else return false;
  return true;
}

function reportKey(review: Review, key: string, view: View): boolean {
  const values = (review.data?.values ?? []).filter((value) => !value.id.includes("@"));
  const at = values.findIndex((value) => value.id === review.chosen);
  if (key === "h") view.audit();
  else if (key === "j" || key === "k") {
    const next = values[Math.min(values.length - 1, Math.max(0, at + (key === "j" ? 1 : -1)))];
    if (next) {
      review.choose(next);
      document.querySelector(`[data-value="${CSS.escape(next.id)}"]`)?.scrollIntoView({ block: "nearest" });
    }
  } else if (key === "a" && at >= 0 && !review.locked) {
    const value = values[at];
    if (value && value.left_out === "") void review.setValue(value, { state: value.state === "approved" ? "open" : "approved" });
  } else return false;
  return true;
}
