/** The cine of one clip: its decoded frames and what is on screen now. */
import { api } from "../api/client";
import type { Clip } from "../api/types";
import { affordableWidth, unpackCine } from "../imaging/cine";
import { advance, beatAround, frameAt, loopSeconds } from "../imaging/timing";

export const SPEEDS = [0.1, 0.25, 0.5, 1, 1.5, 2, 4] as const;

export class Player {
  clip = $state.raw() as Clip;
  frame = $state(0);
  playing = $state(false);
  speed = $state(1);
  loopBeat = $state(false);
  /** Share of the frames that can be shown. */
  loaded = $state(0);
  error = $state("");
  images: ImageBitmap[] = [];
  /** Seconds on the clip's clock. */
  time = 0;
  private readonly abort = new AbortController();

  constructor(
    readonly study: string,
    clip: Clip,
  ) {
    this.clip = clip;
    this.seek(clip.ed_frames[0] ?? 0);
  }

  get times(): readonly number[] {
    return this.clip.frame_times_s;
  }

  async load(): Promise<void> {
    try {
      const width = affordableWidth(this.clip.size, this.clip.frames);
      const buffer = await api.cine(this.study, this.clip.clip, width, this.abort.signal);
      const { header, images } = unpackCine(buffer);
      const first = Math.min(this.frame, images.length - 1);
      const order = [first, ...images.keys()].filter((place, i) => i === 0 || place !== first);
      const decoded: ImageBitmap[] = new Array<ImageBitmap>(images.length);
      let done = 0;
      const decodeNext = async (): Promise<void> => {
        for (let place = order.shift(); place !== undefined && !this.abort.signal.aborted; place = order.shift()) {
          const blob = new Blob([images[place] as Uint8Array<ArrayBuffer>], { type: header.type });
          decoded[place] = await createImageBitmap(blob);
          this.images = decoded;
          done++;
          if (done === 1 || done % 8 === 0 || done === images.length) this.loaded = done / images.length;
        }
      };
      await Promise.all([decodeNext(), decodeNext(), decodeNext()]);
    } catch (error) {
      if (!this.abort.signal.aborted) this.error = error instanceof Error ? error.message : String(error);
    }
  }

  close(): void {
    this.abort.abort();
    this.playing = false;
    for (const image of this.images) image?.close();
    this.images = [];
  }

  seek(frame: number): void {
    this.frame = Math.min(this.clip.frames - 1, Math.max(0, frame));
    this.time = this.times[this.frame] ?? 0;
  }

  seekTime(time: number): void {
    this.time = time;
    const frame = frameAt(this.times, time);
    if (frame !== this.frame) this.frame = frame;
  }

  step(by: number): void {
    this.playing = false;
    this.seek((this.frame + by + this.clip.frames) % this.clip.frames);
  }

  toggle(): void {
    this.playing = !this.playing && this.clip.frames > 1;
  }

  faster(by: 1 | -1): void {
    const place = SPEEDS.findIndex((speed) => speed >= this.speed - 1e-9);
    this.speed = SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, place + by))] ?? 1;
  }

  /** Frames from one ED to the next around this frame; null where the clip names no beat. */
  get beat(): [number, number] | null {
    return beatAround(this.clip.ed_frames, this.frame, this.clip.frames);
  }

  /** Moves on by seconds of the wall clock. */
  tick(seconds: number): void {
    if (!this.playing) return;
    const beat = this.loopBeat ? this.beat : null;
    const begin = this.times[beat ? beat[0] : 0] ?? 0;
    const end = beat ? (this.times[beat[1]] ?? begin) : begin + loopSeconds(this.times);
    this.seekTime(advance(this.time, seconds * this.speed, begin, end));
  }

  /** The next ED or ES after this frame, from the start again after the last. */
  jumpTo(frames: readonly number[]): void {
    const sorted = [...frames].sort((a, b) => a - b);
    const next = sorted.find((frame) => frame > this.frame) ?? sorted[0];
    if (next === undefined) return;
    this.playing = false;
    this.seek(next);
  }
}
