/** How the answer of the decoder is put into the mask that it corrects; the same rules as on the server.
 *
 * The change is taken over only in connected parts that hold a click which the mask before contradicted. Where a click
 * is still contradicted, the logits are raised or lowered around it by a Gaussian just high enough to obey it.
 */
import type { Click, Size } from "../api/types";
import { connectedParts } from "./mask";

export const OUTSIDE_LOGIT = -8;
const REACH = 0.03;
const HALVINGS = 7;
const MARGIN = 1;
/** So many standard deviations from a click nothing changes that a 32-bit number could hold. */
const FAR = 7;

/** Logits of a mask: far from zero on both sides. */
export function logitsOf(mask: Uint8Array): Float32Array {
  const logits = new Float32Array(mask.length);
  for (let i = 0; i < mask.length; i++) logits[i] = mask[i] ? -OUTSIDE_LOGIT : OUTSIDE_LOGIT;
  return logits;
}

/** The mask of logits: positive is inside. */
export function maskOf(logits: Float32Array): Uint8Array {
  const mask = new Uint8Array(logits.length);
  for (let i = 0; i < logits.length; i++) mask[i] = (logits[i] as number) > 0 ? 1 : 0;
  return mask;
}

function placeOf(click: Click, [height, width]: Size): number {
  // Python and NumPy round halves to even; clicks on exact halves are rare and either pixel is right
  const row = Math.min(Math.max(Math.round(click.y), 0), height - 1);
  const column = Math.min(Math.max(Math.round(click.x), 0), width - 1);
  return row * width + column;
}

/** Refined logits put into the logits before, so that every click is obeyed. `side` is that of the model's square in native pixels. */
export function mergeCorrection(
  refined: Float32Array,
  previous: Float32Array,
  clicks: readonly Click[],
  size: Size,
  side: number,
): Float32Array {
  const merged = previous.slice();
  const contradicted = clicks.map((click) => ({ place: placeOf(click, size), positive: click.positive }));
  const asked = contradicted.filter(({ place, positive }) => (previous[place] as number) > 0 !== positive);
  if (asked.length > 0) {
    const differs = new Uint8Array(previous.length);
    for (let i = 0; i < differs.length; i++) {
      differs[i] = (refined[i] as number) > 0 === (previous[i] as number) > 0 ? 0 : 1;
    }
    const parts = connectedParts(differs, size);
    const wanted = new Set(asked.map(({ place }) => parts[place] as number));
    wanted.delete(0);
    for (let i = 0; i < merged.length; i++) {
      const part = parts[i] as number;
      if (part > 0 && wanted.has(part)) merged[i] = refined[i] as number;
    }
  }
  for (let halving = 0; halving < HALVINGS; halving++) {
    for (const click of [...clicks.filter((c) => c.positive), ...clicks.filter((c) => !c.positive)]) {
      obey(merged, click, size, (REACH * side) / 2 ** halving);
    }
  }
  return merged;
}

function obey(logits: Float32Array, click: Click, size: Size, reach: number): void {
  const here = logits[placeOf(click, size)] as number;
  if (here > 0 === click.positive) return;
  const [height, width] = size;
  const peak = (Math.abs(here) + MARGIN) * (click.positive ? 1 : -1);
  const wide = 2 * reach * reach;
  const far = FAR * reach;
  const [left, right] = [Math.max(0, Math.floor(click.x - far)), Math.min(width - 1, Math.ceil(click.x + far))];
  const [top, bottom] = [Math.max(0, Math.floor(click.y - far)), Math.min(height - 1, Math.ceil(click.y + far))];
  const across = Float64Array.from({ length: right - left + 1 }, (_, x) => Math.exp(-((left + x - click.x) ** 2) / wide));
  for (let y = top; y <= bottom; y++) {
    const down = peak * Math.exp(-((y - click.y) ** 2) / wide);
    for (let x = left; x <= right; x++) {
      const place = y * width + x;
      logits[place] = (logits[place] as number) + down * (across[x - left] as number);
    }
  }
}
