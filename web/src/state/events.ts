/** Live events of the server; the browser connects again by itself. */
import { address } from "../api/client";
import type { LearningRun, StudyRow } from "../api/types";

interface Listeners {
  study?: (row: StudyRow) => void;
  learning?: (run: LearningRun) => void;
}

/** Listens until the returned function is called. */
export function listen(listeners: Listeners): () => void {
  const source = new EventSource(address("/events"));
  const on = <T>(name: string, listener: ((data: T) => void) | undefined) => {
    if (!listener) return;
    source.addEventListener(name, (event) => listener(JSON.parse((event as MessageEvent<string>).data) as T));
  };
  on("study", listeners.study);
  on("learning", listeners.learning);
  return () => source.close();
}
