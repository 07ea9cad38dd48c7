/** The keys of the page; the list of keys shows this table. */

import { controls } from "./chart/controls";
import { INTERVALS } from "./intervals";
import { step, toggleWatched } from "./market";
import { address, change, chartShown, go, overlay, setOverlay, setPanel, setPanelShown } from "./state";
import { switchTheme } from "./state";

export interface Key {
  /** As KeyboardEvent.key has it. */
  readonly keys: readonly string[];
  readonly shown: string;
  readonly what: string;
  readonly run: () => void;
}

function toggleScale(scale: "log" | "percent"): void {
  change({ scale: chartShown().scale === scale ? "linear" : scale }, true);
}

function otherInterval(by: 1 | -1): void {
  const at = INTERVALS.findIndex((one) => one.name === chartShown().interval);
  const next = INTERVALS[at + by];
  if (next) change({ interval: next.name });
}

function showPanel(name: "watch" | "book" | "trades" | "rankings"): void {
  setPanel(name);
  setPanelShown(true);
}

function toggleMenu(name: string): void {
  const menu = document.querySelector<HTMLDetailsElement>(`[data-menu="${name}"]`);
  if (!menu) return;
  menu.open = !menu.open;
  if (menu.open) menu.querySelector<HTMLElement>("input, button")?.focus();
}

function menus(): HTMLDetailsElement[] {
  return [...document.querySelectorAll<HTMLDetailsElement>("[data-menu]")];
}

export const KEYS: readonly Key[] = [
  { keys: ["/"], shown: "/", what: "Search a symbol", run: () => setOverlay("search") },
  { keys: [","], shown: ",", what: "Shorter interval", run: () => otherInterval(-1) },
  { keys: ["."], shown: ".", what: "Longer interval", run: () => otherInterval(1) },
  { keys: ["ArrowLeft"], shown: "\u2190", what: "Into the past", run: () => controls()?.scroll(-0.25) },
  { keys: ["ArrowRight"], shown: "\u2192", what: "Towards now", run: () => controls()?.scroll(0.25) },
  { keys: ["ArrowUp", "+"], shown: "\u2191 or +", what: "Nearer", run: () => controls()?.zoom(0.8) },
  { keys: ["ArrowDown", "-"], shown: "\u2193 or \u2212", what: "Farther", run: () => controls()?.zoom(1.25) },
  { keys: ["End", "0"], shown: "End or 0", what: "The newest bars", run: () => controls()?.newest() },
  { keys: ["j"], shown: "j", what: "Next of the watch list", run: () => step(1) },
  { keys: ["k"], shown: "k", what: "The one before", run: () => step(-1) },
  { keys: ["w"], shown: "w", what: "Watch, or no more", run: () => toggleWatched(chartShown()) },
  { keys: ["l"], shown: "l", what: "Logarithmic scale", run: () => toggleScale("log") },
  { keys: ["p"], shown: "p", what: "Scale in percent", run: () => toggleScale("percent") },
  { keys: ["i"], shown: "i", what: "Indicators", run: () => toggleMenu("indicators") },
  { keys: ["c"], shown: "c", what: "Compare with a symbol", run: () => setOverlay("compare") },
  { keys: ["v"], shown: "v", what: "Watch list, on a phone", run: () => showPanel("watch") },
  { keys: ["b"], shown: "b", what: "Order book", run: () => showPanel("book") },
  { keys: ["x"], shown: "x", what: "Trades", run: () => showPanel("trades") },
  { keys: ["r"], shown: "r", what: "Rankings", run: () => showPanel("rankings") },
  { keys: ["e"], shown: "e", what: "Save the bars that are seen", run: () => controls()?.saveBars() },
  { keys: ["g"], shown: "g", what: "Save the chart as a picture", run: () => controls()?.savePicture() },
  { keys: ["u"], shown: "u", what: "Times in UTC, local or a zone", run: () => setOverlay("zones") },
  { keys: ["t"], shown: "t", what: "Dark or light", run: switchTheme },
  {
    keys: ["s"],
    shown: "s",
    what: "System",
    run: () => go(address().page === "system" ? chartShown() : { page: "system" }),
  },
  { keys: ["?"], shown: "?", what: "These keys", run: () => setOverlay("keys") },
  { keys: ["Escape"], shown: "Esc", what: "Close what is open", run: close },
];

function close(): void {
  setOverlay("none");
  setPanelShown(false);
  menus().forEach((menu) => menu.removeAttribute("open"));
}

/** Close the menus that are not pressed. */
export function onPress({ target }: PointerEvent): void {
  for (const menu of menus()) {
    if (!(target instanceof Node) || !menu.contains(target)) menu.removeAttribute("open");
  }
}

/** Run what a key stands for, unless somebody types a text or presses it with a modifier. */
export function onKey(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isEscape = event.key === "Escape";
  const target = event.target;
  const types = target instanceof HTMLElement && target.matches("input:not([type=checkbox]), select, textarea");
  if (!isEscape && (types || overlay() !== "none")) return;
  const key = KEYS.find((one) => one.keys.includes(event.key));
  if (!key) return;
  event.preventDefault();
  key.run();
}
