/** What every screen shares: session, theme, route, messages. */
import { api, ServerError } from "../api/client";
import type { Session } from "../api/types";

export type Route =
  | { screen: "studies" }
  | { screen: "review"; study: string }
  | { screen: "learning" }
  | { screen: "explore" };

export type Theme = "dark" | "light";

interface Message {
  id: number;
  text: string;
  kind: "note" | "error";
}

const THEME_KEY = "echoapex-theme";

function routeOf(hash: string): Route {
  const [screen, study] = hash.replace(/^#\/?/, "").split("/");
  if (screen === "study" && study) return { screen: "review", study };
  if (screen === "learning" || screen === "explore") return { screen };
  return { screen: "studies" };
}

function firstTheme(): Theme {
  const kept = localStorage.getItem(THEME_KEY);
  if (kept === "dark" || kept === "light") return kept;
  return matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark";
}

class App {
  session = $state.raw<Session | null>(null);
  theme = $state<Theme>(firstTheme());
  route = $state.raw<Route>(routeOf(location.hash));
  messages = $state<Message[]>([]);
  helpOpen = $state(false);
  /** The clip that a study is to open with, when it was chosen on another screen. */
  wantedClip: string | null = null;
  private next = 0;

  constructor() {
    addEventListener("hashchange", () => (this.route = routeOf(location.hash)));
    matchMedia("(prefers-color-scheme: light)").addEventListener("change", (event) => {
      if (!localStorage.getItem(THEME_KEY)) this.theme = event.matches ? "light" : "dark";
    });
  }

  async start(): Promise<void> {
    try {
      this.session = await api.session();
    } catch (error) {
      this.fail(error);
    }
  }

  get canReview(): boolean {
    return this.session?.role !== "reader" && this.session !== null;
  }

  get isAdmin(): boolean {
    return this.session?.role === "admin";
  }

  toggleTheme(): void {
    this.theme = this.theme === "dark" ? "light" : "dark";
    localStorage.setItem(THEME_KEY, this.theme);
  }

  openStudy(study: string, clip: string | null = null): void {
    this.wantedClip = clip;
    location.hash = `#/study/${study}`;
  }

  say(text: string): void {
    this.show(text, "note", 5000);
  }

  /** Shows what went wrong; an ended session leads to the login. */
  fail(error: unknown): void {
    if (error instanceof DOMException && error.name === "AbortError") return;
    if (error instanceof ServerError && error.status === 401 && this.session) {
      this.session = { ...this.session, needs_login: true };
    }
    this.show(error instanceof Error ? error.message : String(error), "error", 12000);
  }

  dismiss(id: number): void {
    this.messages = this.messages.filter((message) => message.id !== id);
  }

  private show(text: string, kind: Message["kind"], milliseconds: number): void {
    if (this.messages.some((message) => message.text === text)) return;
    const id = this.next++;
    this.messages = [...this.messages.slice(-3), { id, text, kind }];
    setTimeout(() => this.dismiss(id), milliseconds);
  }
}

export const app = new App();
