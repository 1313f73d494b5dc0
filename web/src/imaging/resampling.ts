/** Linear resampling of logits between the model's square and the native frame. */
import type { Size } from "../api/types";

/** A 3 x 3 matrix, row by row, that maps native pixels to pixels of the model's square; scale and shift only. */
export type Matrix = readonly (readonly number[])[];

/** Enlarged to a square of another side; pixel centres keep their place in the image (half-pixel rule). */
export function enlarged(image: Float32Array, side: number, target: number): Float32Array {
  const ratio = side / target;
  const line = Array.from({ length: target }, (_, i) => Math.min(side - 1, Math.max(0, (i + 0.5) * ratio - 0.5)));
  return sampled(image, [side, side], line, line, 0);
}

/** Values under every native pixel of an image on the model's square; `outside` beyond its edges. */
export function toNativeGrid(image: Float32Array, side: number, matrix: Matrix, size: Size, outside: number): Float32Array {
  const rows = axis(matrix, 1, size[0]);
  const columns = axis(matrix, 0, size[1]);
  return sampled(image, [side, side], rows, columns, outside);
}

/** The other way: values under every pixel of the model's square of a native image. */
export function toSquareGrid(image: Float32Array, size: Size, matrix: Matrix, side: number, outside: number): Float32Array {
  const back = (index: 0 | 1) => {
    const [scale, shift] = [matrix[index]?.[index] ?? 1, matrix[index]?.[2] ?? 0];
    return Array.from({ length: side }, (_, i) => (i - shift) / scale);
  };
  return sampled(image, size, back(1), back(0), outside);
}

function axis(matrix: Matrix, index: 0 | 1, length: number): number[] {
  const [scale, shift] = [matrix[index]?.[index] ?? 1, matrix[index]?.[2] ?? 0];
  return Array.from({ length }, (_, i) => i * scale + shift);
}

function sampled(
  image: Float32Array,
  [height, width]: Size,
  rows: readonly number[],
  columns: readonly number[],
  outside: number,
): Float32Array {
  const out = new Float32Array(rows.length * columns.length).fill(outside);
  const count = columns.length;
  const left = new Int32Array(count).fill(-1);
  const right = new Int32Array(count);
  const share = new Float32Array(count);
  columns.forEach((x, column) => {
    const across = neighbours(x, width);
    if (across) [left[column], right[column], share[column]] = across;
  });
  rows.forEach((y, row) => {
    const down = neighbours(y, height);
    if (!down) return;
    const [upper, lower, below] = [down[0] * width, down[1] * width, down[2]];
    for (let column = 0; column < count; column++) {
      const a = left[column] as number;
      if (a < 0) continue;
      const b = right[column] as number;
      const part = share[column] as number;
      const top = (image[upper + a] as number) * (1 - part) + (image[upper + b] as number) * part;
      const bottom = (image[lower + a] as number) * (1 - part) + (image[lower + b] as number) * part;
      out[row * count + column] = top * (1 - below) + bottom * below;
    }
  });
  return out;
}

function neighbours(place: number, length: number): [number, number, number] | null {
  if (place < -0.5 || place > length - 0.5) return null;
  const inside = Math.min(length - 1, Math.max(0, place));
  const low = Math.min(Math.floor(inside), Math.max(0, length - 2));
  return [low, Math.min(low + 1, length - 1), inside - low];
}
