/** The promptable decoder in this browser, asked from the page; the work itself is done in a worker. */
import { address, clipPath } from "../api/client";
import type { Click, Size } from "../api/types";
import type { Request, Reply } from "./decoder.worker";

export interface Answer {
  mask: Uint8Array;
  logits: Float32Array;
  /** Milliseconds inside the worker. */
  ms: number;
}

export interface Prompt {
  study: string;
  clip: string;
  frame: number;
  structure: string;
  size: Size;
  clicks: Click[];
  box: number[] | null;
  /** Logits of the mask before, native pixels; null where there is none. */
  previous: Float32Array | null;
}

let shared: BrowserDecoder | null = null;

export class BrowserDecoder {
  private readonly worker = new Worker(new URL("./decoder.worker.ts", import.meta.url), { type: "module", name: "decoder" });
  private readonly waiting = new Map<number, { resolve: (reply: Reply) => void; reject: (error: Error) => void }>();
  private next = 0;
  private readonly started: Promise<unknown>;

  constructor() {
    this.worker.addEventListener("message", (event: MessageEvent<Reply>) => {
      const reply = event.data;
      const waiting = this.waiting.get(reply.id);
      this.waiting.delete(reply.id);
      if (reply.error) waiting?.reject(new Error(reply.error));
      else waiting?.resolve(reply);
    });
    this.worker.addEventListener("error", (event) => {
      for (const { reject } of this.waiting.values()) reject(new Error(event.message || "the worker ended"));
      this.waiting.clear();
    });
    this.started = this.ask({
      kind: "start",
      model: address("/decoder/model.onnx"),
      runtime: new URL("./runtime/ort.wasm.gz", document.baseURI).href,
    });
    this.started.catch(() => undefined);
  }

  /** The one decoder of this page. */
  static shared(): BrowserDecoder {
    shared ??= new BrowserDecoder();
    return shared;
  }

  /** Loads the frame into the worker, so that a click finds it there. */
  async prepare(study: string, clip: string, frame: number): Promise<void> {
    await this.started;
    await this.ask({ kind: "frame", embedding: address(`${clipPath(study, clip)}/embedding/${frame}`) });
  }

  /** Answers a prompt. Fails where this browser cannot run the decoder, or the server has none. */
  async segment(prompt: Prompt): Promise<Answer> {
    await this.started;
    const { structure, size, clicks, box, previous } = prompt;
    const embedding = address(`${clipPath(prompt.study, prompt.clip)}/embedding/${prompt.frame}`);
    const reply = await this.ask({ kind: "segment", embedding, structure, size, clicks: clicks.map((c) => ({ ...c })), box, previous });
    if (!reply.mask || !reply.logits) throw new Error("the decoder gave no mask");
    return { mask: reply.mask, logits: reply.logits, ms: reply.ms ?? 0 };
  }

  private ask(request: Request): Promise<Reply> {
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ ...request, id });
    });
  }
}
