/** What a pointer does on a frame, tool by tool. */
import type { Point } from "../api/types";
import { distance, distanceToSegment } from "../imaging/geometry";
import type { Review, Tool } from "../state/review.svelte";
import type { Grip } from "./distances.svelte";

/** A gesture from pointer down to pointer up, in native pixels. */
export interface Gesture {
  move?: (to: Point) => void;
  end?: (to: Point) => void;
}

/** What is being drawn and is not yet kept. */
export interface Sketch {
  box: [Point, Point] | null;
  line: [Point, Point] | null;
  handles: Point[] | null;
  active: number;
}

export const EMPTY_SKETCH: Sketch = { box: null, line: null, handles: null, active: -1 };

/** Starts the gesture of a tool. `reach` is how near a point must be to be taken, in native pixels. */
export function startGesture(
  review: Review,
  tool: Tool,
  from: Point,
  options: { shift: boolean; reach: number; sketch: (sketch: Sketch) => void },
): Gesture | null {
  const { editing, distances, player } = review;
  if (!player) return null;
  const { sketch, reach, shift } = options;
  const { frame } = player;
  if (tool === "click") {
    void editing.click(from, !shift);
    return {};
  }
  if (tool === "box") {
    return {
      move: (to) => sketch({ ...EMPTY_SKETCH, box: [from, to] }),
      end: (to) => {
        sketch(EMPTY_SKETCH);
        if (Math.abs(to[0] - from[0]) > 3 && Math.abs(to[1] - from[1]) > 3) void editing.box(from, to);
      },
    };
  }
  if (tool === "brush" || tool === "eraser") return stroke(review, from, tool === "brush" && !shift ? 1 : 0);
  if (tool === "contour") return contour(review, from, reach, sketch);
  if (tool === "caliper" || tool === "walls") {
    const grip = distances.gripAt(frame, from, reach, tool === "walls");
    if (grip) return dragged(review, grip, frame);
    if (tool === "walls") {
      void distances.placeWalls();
      return null;
    }
  }
  if (tool === "caliper" || tool === "ruler") {
    return {
      move: (to) => sketch({ ...EMPTY_SKETCH, line: [from, to] }),
      end: (to) => {
        sketch(EMPTY_SKETCH);
        if (tool === "caliper") void distances.add(from, to);
        else if (distance(from, to) > 3) distances.ruler = { from, to };
      },
    };
  }
  return null;
}

function stroke(review: Review, from: Point, value: 0 | 1): Gesture {
  const { editing } = review;
  let last = from;
  let work = editing.begin().then(() => editing.brushFrom(from, from, value));
  const go = (to: Point): void => {
    const before = last;
    last = to;
    work = work.then(() => editing.brushFrom(before, to, value));
  };
  return {
    move: go,
    end: (to) => {
      go(to);
      void work.then(() => editing.finish());
    },
  };
}

function dragged(review: Review, grip: Grip, frame: number): Gesture {
  return {
    move: (to) => review.distances.drag(grip, frame, to),
    end: (to) => {
      review.distances.drag(grip, frame, to);
      void review.distances.drop(grip, frame);
    },
  };
}

function contour(review: Review, from: Point, reach: number, sketch: (sketch: Sketch) => void): Gesture | null {
  const { editing } = review;
  const points = [...editing.handles];
  if (!editing.place || points.length < 3) {
    void editing.begin();
    return null;
  }
  let active = points.findIndex((point) => distance(point, from) <= reach);
  if (active < 0) {
    // a press on the line between two points adds one
    const edge = points.findIndex((point, i) => distanceToSegment(from, point, points[(i + 1) % points.length] as Point) <= reach);
    if (edge < 0) return null;
    points.splice(edge + 1, 0, from);
    active = edge + 1;
  }
  const put = (to: Point): void => {
    points[active] = to;
    sketch({ ...EMPTY_SKETCH, handles: [...points], active });
    editing.moveContour(points);
  };
  return {
    move: put,
    end: (to) => {
      put(to);
      sketch(EMPTY_SKETCH);
      editing.finish();
    },
  };
}
