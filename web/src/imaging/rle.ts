/** Run lengths of a mask in column order, first run outside: the counts of COCO. */
import type { Size } from "../api/types";

/** Counts of a row-major mask (1 inside). */
export function encodeMask(mask: Uint8Array, [height, width]: Size): number[] {
  const counts: number[] = [];
  let inside = 0;
  let run = 0;
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      if (mask[y * width + x] === inside) {
        run++;
      } else {
        counts.push(run);
        inside = 1 - inside;
        run = 1;
      }
    }
  }
  counts.push(run);
  return counts;
}

/** Row-major mask of counts. Throws a RangeError where the counts do not fill the frame. */
export function decodeMask(counts: readonly number[], [height, width]: Size): Uint8Array {
  const mask = new Uint8Array(height * width);
  let place = 0;
  counts.forEach((count, turn) => {
    if (turn % 2 === 1) {
      for (let i = place; i < place + count; i++) mask[(i % height) * width + Math.floor(i / height)] = 1;
    }
    place += count;
  });
  if (place !== height * width) {
    throw new RangeError(`the counts name ${place} pixels, the frame has ${height * width}`);
  }
  return mask;
}
