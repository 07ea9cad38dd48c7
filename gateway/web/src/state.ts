/** What is chosen on the page. Addresses can be shared; the rest this browser keeps. */

import { createMemo, createRoot, createSignal } from "solid-js";
import { type Address, type Chart, formatAddress, parseAddress } from "./address";
import { keep, kept } from "./kept";
import type { Instrument, Status } from "./live/feed";
import { type Theme, showTheme, theme } from "./theme";
import { type Zone, zoneNamed } from "./zones";

const [address, setAddress] = createSignal<Address>(parseAddress(location.pathname, location.search));
const [status, setStatus] = createSignal<Status>({ state: "reconnecting" });
const [overlay, setOverlay] = createSignal<"none" | "search" | "compare" | "zones" | "keys">("none");
const [chartShown, setChartShown] = createSignal<Chart>(firstChart());
/** Of the times that are shown. */
const zone = createRoot(() => createMemo<Zone>(() => chartShown().zone || "utc"));
const [indicators, setIndicatorsSignal] = createSignal<readonly string[]>(kept("indicators", []));
const [panel, setPanel] = createSignal<Panel>("book");
/** Whether the first candles are drawn, or cannot be: until then nothing else is asked for. */
const [settled, setSettled] = createSignal(false);
/** On a phone: whether the panel is shown in place of the chart. */
const [panelShown, setPanelShown] = createSignal(false);
export { address, chartShown, indicators, overlay, panel, panelShown, setOverlay, setPanel, setPanelShown, setStatus };
export { setSettled, settled, status, zone };

export type Panel = "watch" | "book" | "trades" | "rankings";

export function toggleIndicator(name: string): void {
  const chosen = indicators().includes(name) ? indicators().filter((one) => one !== name) : [...indicators(), name];
  keep("indicators", chosen);
  setIndicatorsSignal(chosen);
}

function firstChart(): Chart {
  const first = parseAddress(location.pathname, location.search);
  const chart = first.page === "chart" ? first : (parseAddress("/", "") as Chart);
  return { ...chart, zone: chart.zone || zoneNamed(String(kept("zone", ""))) };
}

/** Go to an address; the browser's Back leads to the one before. */
export function go(to: Address, replace = false): void {
  const text = formatAddress(to);
  if (text !== location.pathname + location.search) {
    if (replace) history.replaceState(null, "", text);
    else history.pushState(null, "", text);
  }
  show(to);
}

/** Go to the chart with some choices changed. */
export function change(choices: Partial<Chart>, replace = false): void {
  go({ ...chartShown(), ...choices, page: "chart" }, replace);
}

/** Choose where nothing was: the address stays where it is no chart's. */
export function chooseFirst({ venue, symbol }: Instrument): void {
  if (address().page === "chart") change({ venue, symbol }, true);
  else setChartShown({ ...chartShown(), venue, symbol });
}

export function choose({ venue, symbol }: Instrument): void {
  const compare = chartShown().compare === `${venue}/${symbol}` ? "" : chartShown().compare;
  change({ venue, symbol, compare });
  keep("chosen", { venue, symbol });
}

export function setZone(chosen: Zone): void {
  keep("zone", chosen);
  if (address().page === "chart") change({ zone: chosen }, true);
  else setChartShown({ ...chartShown(), zone: chosen });
}

export function switchTheme(): void {
  const chosen: Theme = theme() === "dark" ? "light" : "dark";
  keep("theme", chosen);
  showTheme(chosen);
}

function show(to: Address): void {
  setAddress(to);
  if (to.page === "chart") setChartShown({ ...to, zone: to.zone || chartShown().zone });
}

addEventListener("popstate", () => show(parseAddress(location.pathname, location.search)));
// The address has the zone, so that who it is shared with sees the same times.
if (address().page === "chart" && chartShown().zone) go(chartShown(), true);
