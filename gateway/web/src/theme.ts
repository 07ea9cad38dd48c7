/** Dark and light, and the colours that are drawn on canvases. */

import { createSignal } from "solid-js";
import { kept } from "./kept";

export type Theme = "dark" | "light";

export interface Colours {
  readonly background: string;
  readonly text: string;
  readonly muted: string;
  readonly line: string;
  readonly up: string;
  readonly down: string;
  readonly upFaint: string;
  readonly downFaint: string;
  readonly accent: string;
  readonly gap: string;
  readonly live: string;
  readonly questdb: string;
  readonly clickhouse: string;
  readonly indicators: readonly string[];
}

const system = matchMedia("(prefers-color-scheme: light)");
const [theme, setTheme] = createSignal<Theme>(kept<Theme | null>("theme", null) ?? (system.matches ? "light" : "dark"));
const [colours, setColours] = createSignal<Colours>(read());
export { colours, theme };

/** Show a theme; the colours are those of styles.css. */
export function showTheme(chosen: Theme): void {
  document.documentElement.dataset["theme"] = chosen;
  setTheme(chosen);
  setColours(read());
}

function read(): Colours {
  const style = getComputedStyle(document.documentElement);
  const of = (name: string) => style.getPropertyValue(`--${name}`).trim();
  return {
    background: of("back"),
    text: of("text"),
    muted: of("muted"),
    line: of("line-faint"),
    up: of("up"),
    down: of("down"),
    upFaint: of("up-faint"),
    downFaint: of("down-faint"),
    accent: of("accent"),
    gap: of("gap"),
    live: of("store-live"),
    questdb: of("store-questdb"),
    clickhouse: of("store-clickhouse"),
    indicators: [of("line-1"), of("line-2"), of("line-3")],
  };
}
