import { describe, expect, it } from "vitest";
import { affordableWidth, unpackCine } from "./cine";

function cine(offsets: number[]): ArrayBuffer {
  const header = new TextEncoder().encode(JSON.stringify({ frames: 2, width: 4, height: 3, offsets, times_s: [0, 0.1], type: "image/webp" }));
  const bytes = new Uint8Array(8 + 4 + header.length + 5);
  bytes.set(new TextEncoder().encode("EACINE1\n"));
  new DataView(bytes.buffer).setUint32(8, header.length, true);
  bytes.set(header, 12);
  bytes.set([1, 2, 3, 4, 5], 12 + header.length);
  return bytes.buffer;
}

describe("a cine", () => {
  it.each([[[0, 2, 5]], [[0, 2]]])("is cut at its offsets %j", (offsets) => {
    const { header, images } = unpackCine(cine(offsets));
    expect(header.times_s).toEqual([0, 0.1]);
    expect(images.map((image) => [...image])).toEqual([[1, 2], [3, 4, 5]]);
  });

  it("is refused where it begins otherwise", () => {
    const other = cine([0, 2]);
    new Uint8Array(other)[0] = 88;
    expect(() => unpackCine(other)).toThrow(/EACINE1/);
  });

  it("is asked for at a width that fits into memory", () => {
    expect(affordableWidth([600, 800], 60)).toBe(800);
    const width = affordableWidth([768, 1024], 400, 400e6);
    expect(4 * width * width * 0.75 * 400).toBeLessThanOrEqual(400e6);
    expect(width).toBeGreaterThan(500);
  });
});
