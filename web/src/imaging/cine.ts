/** The cine of a clip: one file of still images with their times. */
const MAGIC = "EACINE1\n";

export interface CineHeader {
  frames: number;
  width: number;
  height: number;
  offsets: number[];
  times_s: number[];
  type: string;
}

/** Reads a magic word, a JSON header with its length (uint32, little endian), and gives what follows. */
export function readContainer<Header>(buffer: ArrayBuffer, magic: string): { header: Header; body: Uint8Array<ArrayBuffer> } {
  const bytes = new Uint8Array(buffer);
  const found = new TextDecoder().decode(bytes.subarray(0, magic.length));
  if (found !== magic) throw new Error(`the answer does not begin with ${magic.trim()}; load the page again`);
  const length = new DataView(buffer).getUint32(magic.length, true);
  const start = magic.length + 4;
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(start, start + length))) as Header;
  return { header, body: bytes.subarray(start + length) };
}

/** Header and the encoded image of each frame. `offsets` may or may not hold the end of the last image. */
export function unpackCine(buffer: ArrayBuffer): { header: CineHeader; images: Uint8Array<ArrayBuffer>[] } {
  const { header, body } = readContainer<CineHeader>(buffer, MAGIC);
  const images = Array.from({ length: header.frames }, (_, i) =>
    body.subarray(header.offsets[i] ?? 0, header.offsets[i + 1] ?? body.length),
  );
  return { header, images };
}

/** Width to ask for, so that all decoded frames together stay within a budget of bytes. */
export function affordableWidth([height, width]: readonly [number, number], frames: number, budget = 400e6): number {
  const bytes = 4 * width * height * frames;
  return bytes <= budget ? width : Math.max(200, Math.floor(width * Math.sqrt(budget / bytes)));
}
