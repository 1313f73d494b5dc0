/** Masks of one frame: row major, 1 inside. */
import type { Point, Size } from "../api/types";

/** Paints or erases a disc, and the way from the point before it. In place. */
export function paint(mask: Uint8Array, size: Size, from: Point, to: Point, radius: number, value: 0 | 1): void {
  const steps = Math.max(1, Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) / Math.max(1, radius / 2)));
  for (let step = 0; step <= steps; step++) {
    const share = step / steps;
    disc(mask, size, [from[0] + share * (to[0] - from[0]), from[1] + share * (to[1] - from[1])], radius, value);
  }
}

function disc(mask: Uint8Array, [height, width]: Size, [cx, cy]: Point, radius: number, value: 0 | 1): void {
  const top = Math.max(0, Math.ceil(cy - radius));
  const bottom = Math.min(height - 1, Math.floor(cy + radius));
  for (let y = top; y <= bottom; y++) {
    const half = Math.sqrt(Math.max(0, radius * radius - (y - cy) ** 2));
    const left = Math.max(0, Math.ceil(cx - half));
    const right = Math.min(width - 1, Math.floor(cx + half));
    if (right >= left) mask.fill(value, y * width + left, y * width + right + 1);
  }
}

/** The pixels whose centres lie inside a closed contour, or on it (even-odd rule). */
export function fillContour(contour: readonly Point[], [height, width]: Size): Uint8Array {
  const mask = new Uint8Array(height * width);
  for (let y = 0; y < height; y++) {
    const crossings: number[] = [];
    contour.forEach((a, i) => {
      const b = contour[(i + 1) % contour.length] as Point;
      if (a[1] <= y !== b[1] <= y) crossings.push(a[0] + ((y - a[1]) / (b[1] - a[1])) * (b[0] - a[0]));
    });
    crossings.sort((p, q) => p - q);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const left = Math.max(0, Math.ceil((crossings[i] as number) - 1e-6));
      const right = Math.min(width - 1, Math.floor((crossings[i + 1] as number) + 1e-6));
      if (right >= left) mask.fill(1, y * width + left, y * width + right + 1);
    }
  }
  for (const [x, y] of contour) {
    const [column, row] = [Math.round(x), Math.round(y)];
    if (row >= 0 && row < height && column >= 0 && column < width) mask[row * width + column] = 1;
  }
  return mask;
}

/** Label of the connected part (8 neighbours) of each pixel, 0 outside. */
export function connectedParts(mask: Uint8Array, [height, width]: Size): Int32Array {
  const labels = new Int32Array(mask.length);
  const stack = new Int32Array(mask.length);
  let parts = 0;
  for (let start = 0; start < mask.length; start++) {
    if (!mask[start] || labels[start]) continue;
    labels[start] = ++parts;
    let waiting = 0;
    stack[waiting++] = start;
    while (waiting > 0) {
      const place = stack[--waiting] as number;
      const y = Math.floor(place / width);
      const x = place - y * width;
      const [left, right] = [x > 0 ? -1 : 0, x < width - 1 ? 1 : 0];
      for (let down = y > 0 ? -1 : 0; down <= (y < height - 1 ? 1 : 0); down++) {
        for (let across = left; across <= right; across++) {
          const next = place + down * width + across;
          if (mask[next] && !labels[next]) {
            labels[next] = parts;
            stack[waiting++] = next;
          }
        }
      }
    }
  }
  return labels;
}

const AROUND: readonly Point[] = [[1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0], [-1, -1], [0, -1], [1, -1]];

/** Outer contours through the centres of border pixels, one for each connected part (Moore neighbour tracing). */
export function traceContours(mask: Uint8Array, size: Size): Point[][] {
  const [height, width] = size;
  const labels = connectedParts(mask, size);
  let known = 0; // labels begin in the order of their first pixels
  const contours: Point[][] = [];
  for (let start = 0; start < labels.length; start++) {
    const label = labels[start] as number;
    if (label <= known) continue;
    known = label;
    contours.push(traceFrom(labels, width, height, start % width, Math.floor(start / width), label));
  }
  return contours;
}

function traceFrom(labels: Int32Array, width: number, height: number, x0: number, y0: number, label: number): Point[] {
  const inside = (x: number, y: number) =>
    x >= 0 && y >= 0 && x < width && y < height && labels[y * width + x] === label;
  const contour: Point[] = [[x0, y0]];
  let [x, y, back] = [x0, y0, 4];
  let firstStep = -1;
  for (let guard = 0; guard < 4 * labels.length; guard++) {
    let step = -1;
    for (let turn = 1; turn <= 8; turn++) {
      const way = (back + turn) % 8;
      const [dx, dy] = AROUND[way] as Point;
      if (inside(x + dx, y + dy)) {
        step = way;
        break;
      }
    }
    if (step < 0) break;
    if (x === x0 && y === y0) {
      if (firstStep < 0) firstStep = step;
      else if (step === firstStep) break;
    }
    const [dx, dy] = AROUND[step] as Point;
    [x, y] = [x + dx, y + dy];
    back = (step + 4) % 8;
    contour.push([x, y]);
  }
  if (contour.length > 1) contour.pop();
  return contour;
}

/** Number of pixels inside. */
export function maskArea(mask: Uint8Array): number {
  let area = 0;
  for (const value of mask) area += value;
  return area;
}
