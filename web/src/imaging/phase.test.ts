import { describe, expect, it } from "vitest";
import { phaseAt, phaseEvents, timeAtPhase, type Timed } from "./phase";

const slow: Timed = { times: Array.from({ length: 61 }, (_, i) => i * 0.02), edFrames: [0, 50], esFrames: [20] };
const fast: Timed = { times: Array.from({ length: 41 }, (_, i) => i * 0.01), edFrames: [5, 35], esFrames: [15] };

describe("phase", () => {
  it("is whole at events and linear between", () => {
    expect(phaseAt(slow, 0)).toBeCloseTo(0);
    expect(phaseAt(slow, 0.4)).toBeCloseTo(1);
    expect(phaseAt(slow, 0.2)).toBeCloseTo(0.5);
    expect(phaseAt(slow, 1.0)).toBeCloseTo(2);
  });

  it("begins with 1 where systole ends first, and counts a beat between two events of a kind", () => {
    const events = phaseEvents({ times: slow.times, edFrames: [20], esFrames: [5, 50] });
    expect(events.map((event) => event.phase)).toEqual([1, 2, 3]);
    expect(phaseEvents({ times: slow.times, edFrames: [5, 50], esFrames: [] }).map((event) => event.phase)).toEqual([0, 2]);
  });

  it("takes events of one clip to events of another", () => {
    for (const [frame, other] of [[0, 5], [20, 15], [50, 35]] as const) {
      const found = timeAtPhase(fast, phaseAt(slow, slow.times[frame] as number));
      const expected = other === 35 ? [0.05, 0.35] : [fast.times[other] as number];
      expect(expected.some((time) => Math.abs(time - found) < 1e-9)).toBe(true);
    }
  });

  it("gives diastole more time than systole where the clip shows systole alone", () => {
    const one: Timed = { times: slow.times, edFrames: [10], esFrames: [20] };
    expect(phaseAt(one, 0.4)).toBeCloseTo(1);
    expect(phaseAt(one, 0.4 + 0.3)).toBeCloseTo(2);
    expect(phaseAt(one, 0.2 - 0.15)).toBeCloseTo(-0.5);
  });

  it("chooses the named event before one that is only inferred", () => {
    const late: Timed = { times: slow.times, edFrames: [40], esFrames: [50] };
    expect(timeAtPhase(late, 0)).toBeCloseTo(0.8);
    expect(timeAtPhase(late, 2)).toBeCloseTo(0.8);
  });

  it("stays inside the clip at every phase", () => {
    for (let phase = -3; phase < 7; phase += 0.13) {
      const time = timeAtPhase(fast, phase);
      expect(time).toBeGreaterThanOrEqual(0);
      expect(time).toBeLessThanOrEqual(0.4);
    }
  });

  it("goes with the length of a clip that names no event", () => {
    const plain: Timed = { times: [0, 1, 2], edFrames: [], esFrames: [] };
    expect(phaseAt(plain, 1)).toBeCloseTo(1);
    expect(timeAtPhase(plain, 0.5)).toBeCloseTo(0.5);
  });
});
