import { describe, expect, it } from "vitest";
import { advance, beatAround, frameAt, framesPerSecond, loopSeconds } from "./timing";

const times = [0, 0.02, 0.04, 0.1, 0.12];

describe("frames in time", () => {
  it("shows the last frame that has begun", () => {
    expect([-1, 0, 0.019, 0.02, 0.07, 0.1, 9].map((time) => frameAt(times, time))).toEqual([0, 0, 0, 1, 2, 3, 4]);
  });

  it("lets the last frame last as long as the others on average", () => {
    expect(loopSeconds(times)).toBeCloseTo(0.15, 9);
    expect(framesPerSecond([0, 0.02, 0.04])).toBeCloseTo(50, 9);
  });

  it("wraps forwards and backwards", () => {
    expect(advance(0.9, 0.3, 0, 1)).toBeCloseTo(0.2, 9);
    expect(advance(0.1, -0.3, 0, 1)).toBeCloseTo(0.8, 9);
    expect(advance(5, 0, 0, 1)).toBeCloseTo(0, 9);
    expect(advance(3, 1, 2, 2)).toBe(2);
  });
});

describe("the beat around a frame", () => {
  it("goes from one end-diastole to the next", () => {
    expect(beatAround([40, 10, 70], 15, 90)).toEqual([10, 40]);
    expect(beatAround([10, 40, 70], 40, 90)).toEqual([40, 70]);
  });

  it("is the first beat before all of them and the last after", () => {
    expect(beatAround([10, 40], 2, 90)).toEqual([10, 40]);
    expect(beatAround([10, 40], 80, 90)).toEqual([10, 40]);
  });

  it("ends with the clip where there is one end-diastole", () => {
    expect(beatAround([33], 50, 64)).toEqual([33, 63]);
    expect(beatAround([33], 10, 64)).toEqual([0, 33]);
    expect(beatAround([0], 10, 64)).toEqual([0, 63]);
    expect(beatAround([], 3, 9)).toBeNull();
  });
});
