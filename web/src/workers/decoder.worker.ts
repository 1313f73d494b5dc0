/** Runs the ONNX decoder: frames come encoded from the server, prompts are answered here. */
import * as ort from "onnxruntime-web/wasm";
import type { Click, Size } from "../api/types";
import { STRUCTURES } from "../api/vocabulary";
import { readContainer } from "../imaging/cine";
import { maskOf, mergeCorrection, OUTSIDE_LOGIT } from "../imaging/correction";
import { enlarged, type Matrix, toNativeGrid, toSquareGrid } from "../imaging/resampling";

export type Request =
  | { kind: "start"; model: string; runtime: string }
  | { kind: "frame"; embedding: string }
  | {
      kind: "segment";
      embedding: string;
      structure: string | null;
      size: Size;
      clicks: Click[];
      box: number[] | null;
      previous: Float32Array | null;
    };

export interface Reply {
  id: number;
  error?: string;
  mask?: Uint8Array<ArrayBuffer>;
  logits?: Float32Array<ArrayBuffer>;
  ms?: number;
}

interface EmbeddingHeader {
  tensors: { name: string; shape: number[]; dtype: string }[];
  square_from_native: Matrix;
  input_size: number;
}

interface Frame {
  tensors: Record<string, ort.Tensor>;
  matrix: Matrix;
  side: number;
}

const KEPT_FRAMES = 24;
const NO_STRUCTURE = -1;
const LABEL = { padding: -1, negative: 0, positive: 1, firstCorner: 2, lastCorner: 3 } as const;
const frames = new Map<string, Promise<Frame>>();
let session: ort.InferenceSession | null = null;

async function fetched(url: string): Promise<ArrayBuffer> {
  const answer = await fetch(url, { credentials: "same-origin" });
  if (!answer.ok) throw new Error(`${answer.status} for ${new URL(url, self.location.href).pathname}`);
  return answer.arrayBuffer();
}

/** The bytes, unpacked where they are gzipped and the server has not already done so. */
async function unpacked(bytes: ArrayBuffer): Promise<ArrayBuffer> {
  const [a, b] = new Uint8Array(bytes, 0, 2);
  if (a !== 0x1f || b !== 0x8b) return bytes;
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function start(model: string, runtime: string): Promise<void> {
  const [weights, wasm] = await Promise.all([fetched(model), fetched(runtime).then(unpacked)]);
  ort.env.wasm.wasmBinary = wasm;
  // threads would load this file again, and a click is quick without them
  ort.env.wasm.numThreads = 1;
  session = await ort.InferenceSession.create(weights, { executionProviders: ["wasm"], graphOptimizationLevel: "all" });
}

async function readFrame(url: string): Promise<Frame> {
  const { header, body } = readContainer<EmbeddingHeader>(await fetched(url), "EAEMB1\n");
  let place = 0;
  const tensors: Record<string, ort.Tensor> = {};
  for (const { name, shape } of header.tensors) {
    const count = shape.reduce((product, side) => product * side, 1);
    // the data need not lie on a multiple of four: a copy does
    const values = new Float32Array(body.slice(place, place + 4 * count).buffer);
    tensors[name] = new ort.Tensor("float32", values, shape);
    place += 4 * count;
  }
  return { tensors, matrix: header.square_from_native, side: header.input_size };
}

function frameOf(url: string): Promise<Frame> {
  let frame = frames.get(url);
  if (!frame) {
    frame = readFrame(url);
    frames.set(url, frame);
    frame.catch(() => frames.delete(url));
    const oldest = frames.keys().next().value;
    if (frames.size > KEPT_FRAMES && oldest !== undefined) frames.delete(oldest);
  }
  return frame;
}

function shapeOf(name: string): number[] {
  const found = session?.inputMetadata.find((input) => input.name === name);
  const shape = found?.isTensor ? found.shape : [];
  return shape.map((side) => (typeof side === "number" ? side : 1));
}

type Segment = Extract<Request, { kind: "segment" }>;

function feeds(frame: Frame, { clicks, box, structure, previous, size }: Segment): Record<string, ort.Tensor> {
  const points = [...clicks.filter((c) => c.positive), ...clicks.filter((c) => !c.positive)].map((click) => ({
    x: click.x,
    y: click.y,
    label: click.positive ? LABEL.positive : LABEL.negative,
  })) as { x: number; y: number; label: number }[];
  if (box) {
    points.push({ x: box[0] ?? 0, y: box[1] ?? 0, label: LABEL.firstCorner });
    points.push({ x: box[2] ?? 0, y: box[3] ?? 0, label: LABEL.lastCorner });
  }
  if (points.length === 0) points.push({ x: 0, y: 0, label: LABEL.padding });
  const [sx, tx] = [frame.matrix[0]?.[0] ?? 1, frame.matrix[0]?.[2] ?? 0];
  const [sy, ty] = [frame.matrix[1]?.[1] ?? 1, frame.matrix[1]?.[2] ?? 0];
  const coordinates = Float32Array.from(points.flatMap(({ x, y }) => [x * sx + tx, y * sy + ty]));
  const labels = BigInt64Array.from(points.map(({ label }) => BigInt(label)));
  const place = STRUCTURES.findIndex(({ key }) => key === structure);
  const side = shapeOf("mask_input")[3] ?? frame.side;
  const mask = previous ? toSquareGrid(previous, size, scaled(frame.matrix, side / frame.side), side, OUTSIDE_LOGIT) : new Float32Array(side * side);
  return {
    ...frame.tensors,
    point_coords: new ort.Tensor("float32", coordinates, [1, points.length, 2]),
    point_labels: new ort.Tensor("int64", labels, [1, points.length]),
    structure: new ort.Tensor("int64", BigInt64Array.of(BigInt(place < 0 ? NO_STRUCTURE : place + 1)), [1]),
    mask_input: new ort.Tensor("float32", mask, [1, 1, side, side]),
    has_mask: hasMask(previous !== null),
  };
}

function hasMask(has: boolean): ort.Tensor {
  const found = session?.inputMetadata.find((input) => input.name === "has_mask");
  const type = found?.isTensor ? found.type : "float32";
  if (type === "bool") return new ort.Tensor("bool", Uint8Array.of(has ? 1 : 0), [1]);
  if (type === "int64") return new ort.Tensor("int64", BigInt64Array.of(has ? 1n : 0n), [1]);
  return new ort.Tensor("float32", Float32Array.of(has ? 1 : 0), [1]);
}

/** The matrix to a square whose side is another by a factor; pixel centres keep their place in the image. */
function scaled(matrix: Matrix, factor: number): Matrix {
  return matrix.map((row, i) => (i < 2 ? row.map((value, j) => (j === 2 ? (value + 0.5) * factor - 0.5 : value * factor)) : row));
}

async function segment(request: Segment): Promise<Omit<Reply, "id">> {
  const began = performance.now();
  if (!session) throw new Error("the decoder is not loaded");
  const frame = await frameOf(request.embedding);
  const all = feeds(frame, request);
  const output = await session.run(Object.fromEntries(session.inputNames.map((name) => [name, all[name] as ort.Tensor])));
  const name = session.outputNames.find((one) => one.includes("logits")) ?? session.outputNames[0] ?? "";
  const low = output[name];
  if (!low) throw new Error("the decoder gave no logits");
  const lowSide = low.dims[low.dims.length - 1] ?? 1;
  const square = enlarged(low.data as Float32Array, lowSide, frame.side);
  let logits = toNativeGrid(square, frame.side, frame.matrix, request.size, OUTSIDE_LOGIT);
  if (request.previous && request.clicks.length > 0) {
    const side = frame.side / (frame.matrix[0]?.[0] ?? 1);
    logits = mergeCorrection(logits, request.previous, request.clicks, request.size, side);
  }
  const kept = logits as Float32Array<ArrayBuffer>;
  return { logits: kept, mask: maskOf(kept) as Uint8Array<ArrayBuffer>, ms: performance.now() - began };
}

self.addEventListener("message", (event: MessageEvent<Request & { id: number }>) => {
  const { id, ...request } = event.data;
  void answer(request as Request)
    .then((reply) => self.postMessage({ id, ...reply } satisfies Reply, { transfer: reply.mask ? [reply.mask.buffer] : [] }))
    .catch((error: unknown) => self.postMessage({ id, error: error instanceof Error ? error.message : String(error) } satisfies Reply));
});

async function answer(request: Request): Promise<Omit<Reply, "id">> {
  if (request.kind === "start") await start(request.model, request.runtime);
  else if (request.kind === "frame") await frameOf(request.embedding);
  else return segment(request);
  return {};
}
