/** Requests to the server on this machine. Every failure is one sentence that says what to do. */
import type {
  AuditEntry, Caliper, Click, Clip, Contours, Correction, Learning, LearningRun, MapPoint, Point, Session, Size, Study,
  StudyRow, DecidedValue,
} from "./types";

const BASE = "/api/v1";
let csrf = "";

export class ServerError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

async function request(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = {};
  if (method !== "GET") headers["X-Echoapex-Csrf"] = csrf;
  let content: BodyInit | undefined;
  if (body instanceof FormData) content = body;
  else if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    content = JSON.stringify(body);
  }
  let answer: Response;
  try {
    answer = await fetch(BASE + path, { method, headers, body: content ?? null, signal: signal ?? null, credentials: "same-origin" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ServerError("The server does not answer. Is echoapex serve still running? Start it and load the page again.", 0);
  }
  if (!answer.ok) throw new ServerError(await reasonOf(answer), answer.status);
  return answer;
}

async function reasonOf(answer: Response): Promise<string> {
  try {
    const { detail } = (await answer.json()) as { detail?: unknown };
    if (typeof detail === "string") return sentence(detail);
    if (Array.isArray(detail)) return sentence(detail.map((item: { msg?: string }) => item.msg ?? "").join("; "));
  } catch {
    // no JSON: the status alone has to do
  }
  return `The server answered with ${answer.status}. Load the page again; if it stays, look at the server's log.`;
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

async function json<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const answer = await request(method, path, body, signal);
  const text = await answer.text();
  return (text ? JSON.parse(text) : {}) as T;
}

export function clipPath(study: string, clip: string): string {
  return `/studies/${encodeURIComponent(study)}/clips/${encodeURIComponent(clip)}`;
}

export function address(path: string): string {
  return BASE + path;
}

export interface StudyFilter {
  query: string;
  view: string;
  flag: string;
  state: string;
  sort: string;
}

export const api = {
  async session(): Promise<Session> {
    const session = await json<Session>("GET", "/session");
    csrf = session.csrf;
    return session;
  },
  login: (token: string) => json("POST", "/session", { token }),
  logout: () => json("DELETE", "/session"),

  studies(filter: StudyFilter, offset: number, limit: number, signal?: AbortSignal) {
    const query = new URLSearchParams({ offset: String(offset), limit: String(limit), sort: filter.sort });
    for (const key of ["query", "view", "flag", "state"] as const) if (filter[key]) query.set(key, filter[key]);
    return json<{ total: number; studies: StudyRow[] }>("GET", `/studies?${query}`, undefined, signal);
  },
  upload: (form: FormData) =>
    json<{ studies: string[]; refused: { file: string; index: number; reason: string }[] }>("POST", "/studies", form),
  study: (study: string) => json<Study>("GET", `/studies/${study}`),
  rename: (study: string, label: string) => json<StudyRow>("PATCH", `/studies/${study}`, { label }),
  remove: (study: string) => json("DELETE", `/studies/${study}`),

  async cine(study: string, clip: string, width: number, signal?: AbortSignal): Promise<ArrayBuffer> {
    return (await request("GET", `${clipPath(study, clip)}/cine?width=${width}`, undefined, signal)).arrayBuffer();
  },
  contours: (study: string, clip: string) => json<Contours>("GET", `${clipPath(study, clip)}/contours`),
  masks: (study: string, clip: string, frame: number) =>
    json<{ size: Size; structures: Record<string, { counts: number[] }> }>("GET", `${clipPath(study, clip)}/masks/${frame}`),
  putMask: (study: string, clip: string, frame: number, structure: string, rle: number[]) =>
    json<Correction>("PUT", `${clipPath(study, clip)}/masks`, { frame, structure, rle }),
  correct: (study: string, clip: string, change: Record<string, unknown>) =>
    json<Correction>("PATCH", clipPath(study, clip), change),
  putWalls: (study: string, clip: string, frame: number, points: Record<string, Point>) =>
    json<Correction>("PUT", `${clipPath(study, clip)}/walls/${frame}`, { points }),
  async calipers(study: string, clip: string): Promise<Caliper[]> {
    const answer = await json<Caliper[] | { calipers: Caliper[] }>("GET", `${clipPath(study, clip)}/calipers`);
    return Array.isArray(answer) ? answer : answer.calipers;
  },
  putCaliper: (study: string, clip: string, caliper: Caliper) =>
    json<Caliper>("PUT", `${clipPath(study, clip)}/calipers/${caliper.id}`, caliper),
  deleteCaliper: (study: string, clip: string, id: string) => json("DELETE", `${clipPath(study, clip)}/calipers/${id}`),

  /** The patch features of a frame as colours, native size. */
  async features(study: string, clip: string, frame: number, signal: AbortSignal): Promise<ImageBitmap> {
    const path = `/explore/features/${study}/${encodeURIComponent(clip)}/${frame}`;
    return createImageBitmap(await (await request("GET", path, undefined, signal)).blob());
  },

  segment: (
    study: string,
    clip: string,
    prompt: { frame: number; structure: string | null; clicks: Click[]; box: number[] | null; from_automatic: boolean },
  ) => json<{ size: Size; counts: number[]; iou: number; ms: number }>("POST", `${clipPath(study, clip)}/segment`, prompt),
  propagate: (study: string, clip: string, frame: number, structure: string) =>
    json<Correction & { frames: number }>("POST", `${clipPath(study, clip)}/propagate`, { frame, structure }),
  undo: (study: string) => json<Correction>("POST", `/studies/${study}/undo`),
  redo: (study: string) => json<Correction>("POST", `/studies/${study}/redo`),

  setValue: (study: string, value: string, change: { state: string; value?: number; reason?: string }) =>
    json<DecidedValue>("PATCH", `/studies/${study}/values/${encodeURIComponent(value)}`, change),
  setNote: (study: string, text: string) => json("PUT", `/studies/${study}/note`, { text }),
  sign: (study: string, statement: string) => json("POST", `/studies/${study}/sign`, { statement }),
  unsign: (study: string) => json("DELETE", `/studies/${study}/sign`),
  audit: (study: string) => json<{ entries: AuditEntry[] }>("GET", `/studies/${study}/audit`),
  async peers(): Promise<string[]> {
    const answer = await json<unknown>("GET", "/peers");
    const list = Array.isArray(answer) ? answer : ((answer as { peers?: unknown[] }).peers ?? []);
    return list.map((peer) => (typeof peer === "string" ? peer : String((peer as { name: string }).name)));
  },
  send: (study: string, peer: string) => json<Record<string, unknown>>("POST", `/studies/${study}/send`, { peer }),

  learning: () => json<Learning>("GET", "/learning"),
  learn: (task: string) => json<LearningRun>("POST", "/learning/runs", { task }),
  stopLearning: (run: string | number) => json("DELETE", `/learning/runs/${run}`),
  switchWeights: (run: string | number | null) => json("POST", "/learning/switch", { run }),
  map: (method: string) => json<{ points: MapPoint[]; pending: number }>("GET", `/explore/map?method=${method}`),
  neighbours: (study: string, clip: string) =>
    json<{ neighbours: { study: string; clip: string; distance: number; view: string | null }[] }>(
      "GET",
      `/explore/neighbours/${study}/${encodeURIComponent(clip)}?count=8`,
    ),
};

export type { Clip };
