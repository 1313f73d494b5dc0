/** One study under review: its clips, values, and what of it is on screen. */
import { api, ServerError } from "../api/client";
import type { Clip, Contours, Correction, Evidence, Point, Study, Value } from "../api/types";
import { STRUCTURES } from "../api/vocabulary";
import { phaseAt, timeAtPhase } from "../imaging/phase";
import { Distances } from "../viewer/distances.svelte";
import { Editing } from "../viewer/editing.svelte";
import { Player } from "../viewer/player.svelte";
import { BrowserDecoder } from "../workers/browser_decoder";
import { app } from "./app.svelte";

export type Tool = "look" | "window" | "click" | "box" | "brush" | "eraser" | "contour" | "caliper" | "walls" | "ruler";
export const EDITING_TOOLS: readonly Tool[] = ["click", "box", "brush", "eraser", "contour"];

export class Review {
  data = $state.raw<Study | null>(null);
  error = $state("");
  player = $state.raw<Player | null>(null);
  second = $state.raw<Player | null>(null);
  contours = $state.raw<Record<string, Contours>>({});
  tool = $state<Tool>("look");
  structure = $state<string>("lv_cavity");
  outlines = $state(true);
  /** Whether the features of the encoder are shown over the frame. */
  features = $state(false);
  opacity = $state(0.18);
  hidden = $state<Record<string, boolean>>({});
  chosen = $state("");
  evidence = $state.raw<Evidence | null>(null);
  canUndo = $state(false);
  canRedo = $state(false);
  /** What the server is working at. */
  busy = $state("");
  readonly editing = new Editing(this);
  readonly distances = new Distances(this);

  constructor(readonly study: string) {}

  get clip(): Clip | null {
    return this.player?.clip ?? null;
  }

  get signed(): boolean {
    return Boolean(this.data?.signed);
  }

  get locked(): boolean {
    return this.signed || !app.canReview;
  }

  async load(): Promise<void> {
    try {
      this.data = await api.study(this.study);
      this.canUndo = this.data.can_undo;
      this.canRedo = this.data.can_redo;
      const wanted = this.data.clips.find((clip) => clip.clip === app.wantedClip);
      app.wantedClip = null;
      const first = wanted ?? this.data.clips.find((clip) => clip.view === "A4C" && !clip.set_aside) ?? this.data.clips.find((clip) => !clip.set_aside);
      const clip = first ?? this.data.clips[0];
      if (clip) this.openClip(clip.clip);
      // the decoder is large: it is there before the first click
      if (!this.locked) setTimeout(() => BrowserDecoder.shared(), 1500);
    } catch (error) {
      this.error = error instanceof Error ? error.message : String(error);
    }
  }

  close(): void {
    this.player?.close();
    this.second?.close();
  }

  find(clip: string): Clip | undefined {
    return this.data?.clips.find((one) => one.clip === clip);
  }

  openClip(id: string, frame?: number): void {
    const clip = this.find(id);
    if (!clip) return;
    if (this.player?.clip.clip !== id) {
      this.player?.close();
      this.player = this.open(clip);
      this.editing.leave();
      this.evidence = null;
      void this.distances.load();
      if (!(this.structure in clip.structures)) {
        this.structure = STRUCTURES.find((one) => one.key in clip.structures)?.key ?? "lv_cavity";
      }
    }
    if (frame !== undefined && this.player) {
      this.player.playing = false;
      this.player.seek(frame);
    }
  }

  openSecond(id: string | null): void {
    this.second?.close();
    const clip = id === null ? undefined : this.find(id);
    this.second = clip ? this.open(clip) : null;
  }

  private open(clip: Clip): Player {
    const player = new Player(this.study, clip);
    void player.load();
    void this.loadContours(clip.clip);
    return player;
  }

  async loadContours(clip: string): Promise<void> {
    try {
      const found = await api.contours(this.study, clip);
      this.contours = { ...this.contours, [clip]: found };
    } catch (error) {
      app.fail(error);
    }
  }

  /** Outlines of a structure on one frame were drawn here; the server will say the same. */
  setContours(clip: string, frame: number, structure: string, parts: Point[][]): void {
    const before = this.contours[clip]?.structures ?? {};
    const structures = { ...before, [structure]: { ...before[structure], [frame]: parts } };
    this.contours = { ...this.contours, [clip]: { structures } };
  }

  tick(seconds: number): void {
    const { player, second } = this;
    if (!player) return;
    player.tick(seconds);
    if (second) {
      const timed = (one: Player) => ({ times: one.times, edFrames: one.clip.ed_frames, esFrames: one.clip.es_frames });
      second.seekTime(timeAtPhase(timed(second), phaseAt(timed(player), player.time)));
    }
  }

  /** Takes over what the server says after a correction. */
  apply(correction: Partial<Correction>): void {
    if (!this.data) return;
    const { clip, values } = correction;
    const clips = clip ? this.data.clips.map((one) => (one.clip === clip.clip ? clip : one)) : this.data.clips;
    this.data = { ...this.data, clips, values: values ?? this.data.values, disagreement: disagreementOf(values ?? this.data.values) };
    if (clip) for (const player of [this.player, this.second]) if (player?.clip.clip === clip.clip) player.clip = clip;
    if (correction.can_undo !== undefined) this.canUndo = correction.can_undo;
    else this.canUndo = true;
    this.canRedo = correction.can_redo ?? false;
  }

  async correct(change: Record<string, unknown>): Promise<void> {
    const clip = this.clip;
    if (!clip) return;
    await this.during("Measuring again", async () => this.apply(await api.correct(this.study, clip.clip, change)));
  }

  /** Runs a request with a word for people about it; shows what went wrong. */
  async during(word: string, work: () => Promise<void>): Promise<boolean> {
    this.busy = word;
    try {
      await work();
      return true;
    } catch (error) {
      app.fail(error);
      return false;
    } finally {
      this.busy = "";
    }
  }

  async step(way: "undo" | "redo"): Promise<void> {
    await this.editing.settled();
    await this.during(way === "undo" ? "Undoing" : "Doing again", async () => {
      const answer = await (way === "undo" ? api.undo(this.study) : api.redo(this.study)).catch(emptyHistory);
      if (!answer) {
        app.say(way === "undo" ? "There is nothing to undo." : "There is nothing to do again.");
        return;
      }
      this.apply(answer);
      if (answer.clip) {
        await this.loadContours(answer.clip.clip);
        if (answer.clip.clip !== this.clip?.clip) this.openClip(answer.clip.clip);
      }
      await this.editing.reload();
      if (answer.undone) app.say(`${way === "undo" ? "Undone" : "Done again"}: ${answer.undone}`);
    });
  }

  /** Shows where a value comes from: clip, frame, contour. */
  choose(value: Value): void {
    this.chosen = value.id;
    const current = this.clip?.clip;
    const evidence = value.evidence.find((one) => one.clip_id === current && one.frames.length > 0) ?? value.evidence[0];
    if (!evidence || !this.find(evidence.clip_id)) return;
    this.openClip(evidence.clip_id, evidence.frames[value.quantity.startsWith("esv") ? evidence.frames.length - 1 : 0]);
    this.evidence = evidence;
  }

  async setValue(value: Value, change: { state: string; value?: number; reason?: string }): Promise<boolean> {
    return this.during("Keeping the value", async () => {
      const { others, gone, ...changed } = await api.setValue(this.study, value.id, change);
      if (!this.data) return;
      const values = merge(this.data.values, [changed, ...others], gone);
      this.data = { ...this.data, values, disagreement: disagreementOf(values) };
      this.canUndo = true;
      this.canRedo = false;
    });
  }
}

/** The server refuses to undo where nothing was done; that is no fault. */
function emptyHistory(error: unknown): null {
  if (error instanceof ServerError && error.status === 409) return null;
  throw error;
}

/** The values with the changed ones in their places; new ones follow the others of the study. */
function merge(values: Value[], changed: Value[], gone: string[]): Value[] {
  const byId = new Map(changed.map((value) => [value.id, value]));
  const kept = values.filter((value) => !gone.includes(value.id)).map((value) => byId.get(value.id) ?? value);
  const known = new Set(kept.map((value) => value.id));
  const added = changed.filter((value) => !known.has(value.id) && !gone.includes(value.id));
  const ofStudy = (value: Value) => !value.id.includes("@");
  return [...kept.filter(ofStudy), ...added, ...kept.filter((value) => !ofStudy(value))];
}

/** Whether a value counts: neither rejected nor left out. */
export function counts(value: Value): boolean {
  return value.state !== "rejected" && value.left_out === "";
}

function disagreementOf(values: Value[]): Study["disagreement"] {
  const of = (quantity: string) => values.find((value) => value.id === quantity && counts(value))?.value;
  const [lvef, discs] = [of("lvef"), of("lvef_discs")];
  if (lvef === undefined || discs === undefined) return null;
  const marked = values.some((value) => value.id === "lvef" && value.flags.includes("methods_disagree"));
  return { lvef, lvef_discs: discs, difference: Math.abs(lvef - discs), marked };
}
