/** Times of frames: which frame is on screen, how long a loop lasts. */

/** Seconds that a whole loop lasts: the last frame stays as long as the frames before it do on average. */
export function loopSeconds(times: readonly number[]): number {
  const first = times[0] ?? 0;
  const last = times[times.length - 1] ?? 0;
  return times.length < 2 ? 1 : (last - first) * (times.length / (times.length - 1));
}

/** The last frame that has begun at a time (seconds on the clip's clock); 0 before the first. */
export function frameAt(times: readonly number[], time: number): number {
  let low = 0;
  let high = times.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((times[middle] ?? 0) <= time + 1e-9) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** A time moved on and wrapped into [begin, end). */
export function advance(time: number, seconds: number, begin: number, end: number): number {
  const length = end - begin;
  if (length <= 0) return begin;
  const moved = (((time + seconds - begin) % length) + length) % length;
  return begin + moved;
}

/** The range of frames of the beat around a frame: from one ED to the next. Null where the clip names no beat. */
export function beatAround(edFrames: readonly number[], frame: number, frameCount: number): [number, number] | null {
  const sorted = [...edFrames].sort((a, b) => a - b);
  if (sorted.length === 0) return null;
  const bounds = sorted.length === 1 ? [0, sorted[0] as number, frameCount - 1] : sorted;
  const unique = bounds.filter((value, index) => index === 0 || value !== bounds[index - 1]);
  for (let i = 0; i + 1 < unique.length; i++) {
    const from = unique[i] as number;
    const to = unique[i + 1] as number;
    if (frame >= from && (frame < to || i + 2 === unique.length)) return [from, to];
  }
  const from = unique[0] as number;
  return [from, unique[1] ?? frameCount - 1];
}

/** Frames per second of a clip. */
export function framesPerSecond(times: readonly number[]): number {
  return times.length < 2 ? 0 : times.length / loopSeconds(times);
}
