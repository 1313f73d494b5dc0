/** Points on screen and in native pixels. The centre of the first pixel is (0, 0). */
import type { Point, Size } from "../api/types";

/** How a frame lies on the screen: CSS pixels = native pixels * scale + offset. */
export interface Placement {
  scale: number;
  left: number;
  top: number;
}

/** The largest placement that shows the whole frame in the middle. */
export function fitted([height, width]: Size, boxWidth: number, boxHeight: number): Placement {
  const scale = Math.max(1e-3, Math.min(boxWidth / width, boxHeight / height));
  return { scale, left: (boxWidth - width * scale) / 2, top: (boxHeight - height * scale) / 2 };
}

/** Zoomed by a factor while the screen point stays where it is. */
export function zoomed(placement: Placement, factor: number, x: number, y: number): Placement {
  return {
    scale: placement.scale * factor,
    left: x - (x - placement.left) * factor,
    top: y - (y - placement.top) * factor,
  };
}

/** Native pixels under a point of the screen. A pixel covers half a pixel around its centre. */
export function toNative(placement: Placement, x: number, y: number): Point {
  return [(x - placement.left) / placement.scale - 0.5, (y - placement.top) / placement.scale - 0.5];
}

/** Place on the screen of a native point. */
export function toScreen(placement: Placement, [x, y]: Point): Point {
  return [(x + 0.5) * placement.scale + placement.left, (y + 0.5) * placement.scale + placement.top];
}

/** A point moved inside the frame. */
export function inFrame([x, y]: Point, [height, width]: Size): Point {
  return [Math.min(width - 1, Math.max(0, x)), Math.min(height - 1, Math.max(0, y))];
}

/** Distance in mm, or null without calibration. */
export function distanceMm(a: Point, b: Point, spacing: { row_mm: number; column_mm: number } | null): number | null {
  return spacing && Math.hypot((a[0] - b[0]) * spacing.column_mm, (a[1] - b[1]) * spacing.row_mm);
}

/** Distance in pixels. */
export function distance(a: Point, b: Point): number {
  return Math.hypot(a[0] - b[0], a[1] - b[1]);
}

/** Distance of a point to a line segment. */
export function distanceToSegment(p: Point, a: Point, b: Point): number {
  const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
  const length = dx * dx + dy * dy;
  const share = length === 0 ? 0 : Math.min(1, Math.max(0, ((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / length));
  return distance(p, [a[0] + share * dx, a[1] + share * dy]);
}

/** A closed contour with fewer points: Ramer, Douglas and Peucker, from the two points that are far apart. */
export function simplified(contour: readonly Point[], tolerance: number): Point[] {
  if (contour.length < 5) return [...contour];
  const first = contour[0] as Point;
  let far = 0;
  contour.forEach((point, i) => {
    if (distance(point, first) > distance(contour[far] as Point, first)) far = i;
  });
  const there = reduced(contour.slice(0, far + 1), tolerance);
  const back = reduced([...contour.slice(far), first], tolerance);
  return [...there.slice(0, -1), ...back.slice(0, -1)];
}

function reduced(line: Point[], tolerance: number): Point[] {
  if (line.length < 3) return line;
  const [a, b] = [line[0] as Point, line[line.length - 1] as Point];
  let worst = 0;
  let place = 0;
  for (let i = 1; i < line.length - 1; i++) {
    const away = distanceToSegment(line[i] as Point, a, b);
    if (away > worst) [worst, place] = [away, i];
  }
  if (worst <= tolerance) return [a, b];
  return [...reduced(line.slice(0, place + 1), tolerance).slice(0, -1), ...reduced(line.slice(place), tolerance)];
}

/** Area of a closed contour, positive. */
export function contourArea(contour: readonly Point[]): number {
  let twice = 0;
  contour.forEach((a, i) => {
    const b = contour[(i + 1) % contour.length] as Point;
    twice += a[0] * b[1] - b[0] * a[1];
  });
  return Math.abs(twice) / 2;
}
