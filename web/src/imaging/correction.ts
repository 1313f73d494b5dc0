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

/** Logits of a mask: far from zero on both sides. */
export function logitsOf(mask: Uint8Array): Float32Array {
  return Float32Array.from(mask, (inside) => (inside ? -OUTSIDE_LOGIT : OUTSIDE_LOGIT));
}

/** The mask of logits: positive is inside. */
export function maskOf(logits: Float32Array): Uint8Array {
  return Uint8Array.from(logits, (logit) => (logit > 0 ? 1 : 0));
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
  const differs = Uint8Array.from(refined, (logit, i) => (logit > 0 !== (previous[i] as number) > 0 ? 1 : 0));
  const parts = connectedParts(differs, size);
  const wanted = new Set<number>();
  for (const click of clicks) {
    const place = placeOf(click, size);
    if ((previous[place] as number) > 0 !== click.positive) wanted.add(parts[place] as number);
  }
  wanted.delete(0);
  const merged = previous.map((logit, i) => (wanted.has(parts[i] as number) ? (refined[i] as number) : logit));
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
  const across = Float64Array.from({ length: width }, (_, x) => Math.exp(-((x - click.x) ** 2) / (2 * reach * reach)));
  for (let y = 0; y < height; y++) {
    const down = peak * Math.exp(-((y - click.y) ** 2) / (2 * reach * reach));
    if (Math.abs(down) < 1e-12) continue;
    for (let x = 0; x < width; x++) {
      const place = y * width + x;
      logits[place] = (logits[place] as number) + down * (across[x] as number);
    }
  }
}
