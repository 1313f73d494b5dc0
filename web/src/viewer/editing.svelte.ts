/** Correcting the outline of one structure on one frame. Each finished action is kept by the server in its order. */
import { api } from "../api/client";
import type { Click, Point, Size } from "../api/types";
import { logitsOf } from "../imaging/correction";
import { fillContour, maskArea, paint, traceContours } from "../imaging/mask";
import { encodeMask, decodeMask } from "../imaging/rle";
import { simplified } from "../imaging/geometry";
import { app } from "../state/app.svelte";
import type { Review } from "../state/review.svelte";
import { BrowserDecoder, type Answer } from "../workers/browser_decoder";

interface Place {
  clip: string;
  frame: number;
  structure: string;
}

export interface Latency {
  ms: number;
  where: "browser" | "server";
  /** Milliseconds of it inside the decoder's worker; null where the server answered. */
  workerMs: number | null;
}

export class Editing {
  place = $state.raw<Place | null>(null);
  mask = $state.raw<Uint8Array | null>(null);
  clicks = $state.raw<Click[]>([]);
  brush = $state(9);
  latency = $state.raw<Latency | null>(null);
  pending = $state(0);
  private logits: Float32Array | null = null;
  /** Counts of the mask as the server has it. */
  private kept = "";
  private queue: Promise<void> = Promise.resolve();
  private decoder: BrowserDecoder | null = null;

  constructor(private readonly review: Review) {}

  get size(): Size {
    return this.review.clip?.size ?? [1, 1];
  }

  /** Outer contours of the mask in work. */
  readonly parts = $derived<Point[][]>(this.mask ? traceContours(this.mask, this.size) : []);

  /** Contour of the largest part with few points, to be dragged. */
  readonly handles = $derived.by<Point[]>(() => {
    const largest = [...this.parts].sort((a, b) => b.length - a.length)[0];
    return simplified(largest ?? [], Math.max(1.2, this.size[1] / 250));
  });

  leave(): void {
    this.place = null;
    this.mask = null;
    this.logits = null;
    this.clicks = [];
  }

  /** Takes up the chosen structure on the frame that is shown, where it is not yet taken up. */
  async begin(): Promise<boolean> {
    const { player, structure } = this.review;
    if (!player) return false;
    player.playing = false;
    const place = { clip: player.clip.clip, frame: player.frame, structure };
    if (this.isAt(place)) return true;
    this.leave();
    this.place = place;
    this.warm();
    return this.reload();
  }

  private isAt(place: Place): boolean {
    const at = this.place;
    return at !== null && at.clip === place.clip && at.frame === place.frame && at.structure === place.structure && this.mask !== null;
  }

  /** Reads the mask as the server has it. */
  async reload(): Promise<boolean> {
    const place = this.place;
    if (!place) return false;
    try {
      const found = await api.masks(this.review.study, place.clip, place.frame);
      if (this.place !== place) return false;
      const counts = found.structures[place.structure]?.counts;
      this.kept = String(counts ?? []);
      this.mask = counts ? decodeMask(counts, this.size) : new Uint8Array(this.size[0] * this.size[1]);
      this.logits = null;
      this.clicks = [];
      return true;
    } catch (error) {
      app.fail(error);
      return false;
    }
  }

  /** Loads decoder and frame before the first click. */
  warm(): void {
    const place = this.place;
    if (!place) return;
    this.decoder ??= BrowserDecoder.shared();
    void this.decoder.prepare(this.review.study, place.clip, place.frame).catch(() => undefined);
  }

  async click(point: Point, positive: boolean): Promise<void> {
    const began = performance.now();
    if (!(await this.begin())) return;
    this.clicks = [...this.clicks, { x: point[0], y: point[1], positive }];
    await this.decode(began, null);
  }

  async box(from: Point, to: Point): Promise<void> {
    const began = performance.now();
    if (!(await this.begin())) return;
    this.clicks = [];
    const corners = [Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.max(from[0], to[0]), Math.max(from[1], to[1])];
    await this.decode(began, corners);
  }

  private async decode(began: number, box: number[] | null): Promise<void> {
    const { place, mask } = this;
    if (!place || !mask) return;
    const clicks = this.clicks;
    const previous = box === null && maskArea(mask) > 0 ? (this.logits ?? logitsOf(mask)) : null;
    let answer: Answer | null = null;
    try {
      answer = (await this.decoder?.segment({ ...place, study: this.review.study, size: this.size, clicks, box, previous })) ?? null;
    } catch {
      answer = null; // no decoder here: the server answers instead
    }
    if (this.place !== place) return;
    try {
      if (answer) {
        this.logits = answer.logits;
        this.mask = answer.mask;
      } else {
        const { frame, structure, clip } = place;
        const found = await api.segment(this.review.study, clip, { frame, structure, clicks, box, from_automatic: previous !== null || box !== null });
        if (this.place !== place) return;
        this.logits = null;
        this.mask = decodeMask(found.counts, found.size);
      }
    } catch (error) {
      app.fail(error);
      return;
    }
    requestAnimationFrame(() => {
      this.latency = { ms: performance.now() - began, where: answer ? "browser" : "server", workerMs: answer?.ms ?? null };
    });
    this.keep();
  }

  async brushFrom(from: Point, to: Point, value: 0 | 1): Promise<void> {
    if (!this.mask && !(await this.begin())) return;
    if (!this.mask) return;
    const mask = this.mask.slice();
    paint(mask, this.size, from, to, this.brush, value);
    this.mask = mask;
  }

  moveContour(points: Point[]): void {
    this.mask = fillContour(points, this.size);
  }

  /** Ends a stroke or a drag: earlier clicks no longer bind, and the mask is kept. */
  finish(): void {
    this.clicks = [];
    this.logits = null;
    this.keep();
  }

  private keep(): void {
    const { place, mask } = this;
    if (!place || !mask) return;
    const { study } = this.review;
    this.review.setContours(place.clip, place.frame, place.structure, this.parts);
    const counts = encodeMask(mask, this.size);
    if (String(counts) === this.kept) return; // a click on what is already so
    this.kept = String(counts);
    this.pending++;
    this.queue = this.queue.then(async () => {
      try {
        this.review.apply(await api.putMask(study, place.clip, place.frame, place.structure, counts));
      } catch (error) {
        app.fail(error);
        await this.review.loadContours(place.clip);
        await this.reload();
      } finally {
        this.pending--;
      }
    });
  }

  /** When all actions so far are kept. */
  settled(): Promise<void> {
    return this.queue;
  }

  async propagate(): Promise<void> {
    if (!(await this.begin()) || !this.place) return;
    const { clip, frame, structure } = this.place;
    await this.settled();
    await this.review.during("Carrying the outline through the clip", async () => {
      const answer = await api.propagate(this.review.study, clip, frame, structure);
      this.review.apply(answer);
      await this.review.loadContours(clip);
      await this.reload();
      app.say(`The outline was carried to ${answer.frames} frames.`);
    });
  }
}
