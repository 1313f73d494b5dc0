import { describe, expect, it } from "vitest";
import type { Click, Point, Size } from "../api/types";
import { logitsOf, maskOf, mergeCorrection } from "./correction";
import { simplified } from "./geometry";
import { connectedParts, fillContour, maskArea, paint, traceContours } from "./mask";
import { enlarged, toNativeGrid, toSquareGrid } from "./resampling";

const size: Size = [60, 80];

function disc(cx: number, cy: number, radius: number): Uint8Array {
  const mask = new Uint8Array(size[0] * size[1]);
  paint(mask, size, [cx, cy], [cx, cy], radius, 1);
  return mask;
}

describe("the brush", () => {
  it("paints the pixels within its radius", () => {
    const mask = disc(40, 30, 10);
    for (let y = 0; y < 60; y++) for (let x = 0; x < 80; x++) {
      expect(mask[y * 80 + x]).toBe(Math.hypot(x - 40, y - 30) <= 10 ? 1 : 0);
    }
  });

  it("leaves no gap on a fast stroke, and erases again", () => {
    const mask = new Uint8Array(size[0] * size[1]);
    paint(mask, size, [5, 30], [75, 30], 3, 1);
    for (let x = 5; x <= 75; x++) expect(mask[30 * 80 + x]).toBe(1);
    paint(mask, size, [0, 30], [79, 30], 5, 0);
    expect(maskArea(mask)).toBe(0);
  });
});

describe("contours", () => {
  it("of a mask fill to the same mask", () => {
    for (const mask of [disc(40, 30, 17), disc(3, 3, 9), disc(79, 59, 12)]) {
      const parts = traceContours(mask, size);
      expect(parts).toHaveLength(1);
      expect(fillContour(parts[0] as Point[], size)).toEqual(mask);
    }
  });

  it("are one for each part, also for a single pixel", () => {
    const mask = disc(15, 15, 5);
    mask[50 * 80 + 70] = 1;
    const parts = traceContours(mask, size);
    expect(parts).toHaveLength(2);
    expect(parts[1]).toEqual([[70, 50]]);
    expect(new Set(connectedParts(mask, size))).toEqual(new Set([0, 1, 2]));
  });

  it("with few points stay close to the mask", () => {
    const mask = disc(40, 30, 22);
    const few = simplified(traceContours(mask, size)[0] as Point[], 1.2);
    const again = fillContour(few, size);
    const both = again.reduce((sum, value, i) => sum + (value & (mask[i] as number)), 0);
    expect((2 * both) / (maskArea(again) + maskArea(mask))).toBeGreaterThan(0.95);
  });
});

describe("a correction", () => {
  const click = (x: number, y: number, positive: boolean): Click => ({ x, y, positive });

  it("is taken over only where a click asked for it", () => {
    const before = logitsOf(disc(20, 30, 8));
    const wanted = disc(20, 30, 8);
    paint(wanted, size, [60, 20], [60, 20], 6, 1);
    paint(wanted, size, [60, 50], [60, 50], 6, 1);
    const merged = maskOf(mergeCorrection(logitsOf(wanted), before, [click(60, 20, true)], size, 80));
    expect(merged[20 * 80 + 60]).toBe(1);
    expect(merged[50 * 80 + 60]).toBe(0);
    expect(merged[30 * 80 + 20]).toBe(1);
  });

  it("obeys clicks that the decoder ignored, opposite ones side by side too", () => {
    const before = logitsOf(disc(40, 30, 12));
    const clicks = [click(40, 30, false), click(44, 30, true), click(70, 10, true)];
    const merged = maskOf(mergeCorrection(before, before, clicks, size, 80));
    for (const { x, y, positive } of clicks) expect(merged[y * 80 + x]).toBe(positive ? 1 : 0);
  });
});

describe("resampling", () => {
  it("enlarges with half-pixel centres, edges repeated", () => {
    const large = enlarged(Float32Array.of(0, 1, 2, 3), 2, 4);
    expect([...large.slice(0, 4)].map((v) => Math.round(v * 100) / 100)).toEqual([0, 0.25, 0.75, 1]);
    expect(large[15]).toBeCloseTo(3);
  });

  it("maps a square to the frame and back", () => {
    const matrix = [[0.5, 0, -4], [0, 0.5, -2], [0, 0, 1]];
    const plane = Float32Array.from({ length: 32 * 32 }, (_, i) => (i % 32) + 2 * Math.floor(i / 32));
    const native = toNativeGrid(plane, 32, matrix, size, -8);
    expect(native[20 * 80 + 20]).toBeCloseTo(6 + 2 * 8);
    expect(native[0]).toBe(-8);
    const back = toSquareGrid(native, size, matrix, 32, -8);
    expect(back[10 * 32 + 12]).toBeCloseTo(12 + 20, 4);
  });
});
