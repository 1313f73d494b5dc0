import { describe, expect, it } from "vitest";
import type { Point } from "../api/types";
import { contourArea, distanceMm, distanceToSegment, fitted, inFrame, simplified, toNative, toScreen, zoomed } from "./geometry";

describe("a frame on the screen", () => {
  it("is fitted into the middle", () => {
    expect(fitted([600, 800], 1000, 600)).toEqual({ scale: 1, left: 100, top: 0 });
  });

  it("maps pixels to the screen and back", () => {
    const placement = { scale: 1.7, left: 31, top: -12 };
    const [x, y] = toScreen(placement, [12.25, 40]);
    const back = toNative(placement, x, y);
    expect(back[0]).toBeCloseTo(12.25, 9);
    expect(back[1]).toBeCloseTo(40, 9);
    expect(toNative({ scale: 2, left: 0, top: 0 }, 1, 1)).toEqual([0, 0]);
  });

  it("keeps the point under the pointer while it is zoomed", () => {
    const before = fitted([100, 100], 400, 300);
    const after = zoomed(before, 1.6, 210, 90);
    expect(toNative(after, 210, 90)[0]).toBeCloseTo(toNative(before, 210, 90)[0], 9);
    expect(after.scale).toBeCloseTo(before.scale * 1.6, 9);
  });

  it("does not leave the frame", () => {
    expect(inFrame([-3, 120], [100, 200])).toEqual([0, 99]);
  });
});

describe("distances", () => {
  it("follow both sides of a pixel, and are refused without calibration", () => {
    expect(distanceMm([0, 0], [3, 4], { row_mm: 1, column_mm: 2 })).toBeCloseTo(Math.hypot(6, 4), 9);
    expect(distanceMm([0, 0], [3, 4], null)).toBeNull();
  });

  it("to a segment end at its ends", () => {
    expect(distanceToSegment([5, 2], [0, 0], [10, 0])).toBeCloseTo(2);
    expect(distanceToSegment([13, 4], [0, 0], [10, 0])).toBeCloseTo(5);
  });
});

describe("a simplified contour", () => {
  const circle = Array.from({ length: 360 }, (_, i): Point => [50 + 30 * Math.cos((i * Math.PI) / 180), 50 + 30 * Math.sin((i * Math.PI) / 180)]);

  it("has few points and nearly the same area", () => {
    const few = simplified(circle, 1);
    expect(few.length).toBeLessThan(30);
    expect(few.length).toBeGreaterThan(6);
    expect(Math.abs(contourArea(few) - contourArea(circle)) / contourArea(circle)).toBeLessThan(0.05);
  });

  it("keeps the corners of a square", () => {
    const square: Point[] = [];
    for (let i = 0; i < 10; i++) square.push([i, 0]);
    for (let i = 0; i < 10; i++) square.push([10, i]);
    for (let i = 0; i < 10; i++) square.push([10 - i, 10]);
    for (let i = 0; i < 10; i++) square.push([0, 10 - i]);
    expect(simplified(square, 0.5)).toEqual([[0, 0], [10, 0], [10, 10], [0, 10]]);
  });
});
