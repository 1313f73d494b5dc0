import { describe, expect, it } from "vitest";
import { decodeMask, encodeMask } from "./rle";

describe("run lengths", () => {
  it("count down the columns, first outside", () => {
    // rows: 0 1 / 0 1 / 1 0
    const mask = Uint8Array.of(0, 1, 0, 1, 1, 0);
    expect(encodeMask(mask, [3, 2])).toEqual([2, 3, 1]);
  });

  it("begin with zero where the first pixel is inside", () => {
    expect(encodeMask(Uint8Array.of(1, 1, 0, 0), [2, 2])).toEqual([0, 1, 1, 1, 1]);
    expect(encodeMask(Uint8Array.of(1, 1, 1, 1), [2, 2])).toEqual([0, 4]);
    expect(encodeMask(new Uint8Array(6), [2, 3])).toEqual([6]);
  });

  it("come back as the same mask", () => {
    const size: [number, number] = [37, 53];
    let seed = 7;
    const mask = Uint8Array.from({ length: 37 * 53 }, () => {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      return seed % 3 === 0 ? 1 : 0;
    });
    expect(decodeMask(encodeMask(mask, size), size)).toEqual(mask);
  });

  it("are refused where they do not fill the frame", () => {
    expect(() => decodeMask([3, 2], [2, 3])).toThrow(/5 pixels, the frame has 6/);
  });
});
