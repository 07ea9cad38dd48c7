/** What is chosen on the page. Addresses can be shared; the rest this browser keeps. */

import { createSignal } from "solid-js";
import { type Address, type Chart, formatAddress, parseAddress } from "./address";
import type { Zone } from "./format";
import { keep, kept } from "./kept";
import type { Instrument, Status } from "./live/feed";
import { type Theme, showTheme, theme } from "./theme";

const [address, setAddress] = createSignal<Address>(parseAddress(location.pathname, location.search));
const [zone, setZoneSignal] = createSignal<Zone>(kept("zone", "utc"));
const [status, setStatus] = createSignal<Status>({ state: "reconnecting" });
const [overlay, setOverlay] = createSignal<"none" | "search" | "compare" | "keys">("none");
const [chartShown, setChartShown] = createSignal<Chart>(firstChart());
export { address, chartShown, overlay, setOverlay, setStatus, status, zone };

function firstChart(): Chart {
  const first = parseAddress(location.pathname, location.search);
  return first.page === "chart" ? first : (parseAddress("/", "") as Chart);
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

export function choose(one: Instrument): void {
  const compare = chartShown().compare === `${one.venue}/${one.symbol}` ? "" : chartShown().compare;
  change({ ...one, compare });
  keep("chosen", { venue: one.venue, symbol: one.symbol });
}

export function setZone(chosen: Zone): void {
  keep("zone", chosen);
  setZoneSignal(chosen);
}

export function switchTheme(): void {
  const chosen: Theme = theme() === "dark" ? "light" : "dark";
  keep("theme", chosen);
  showTheme(chosen);
}

function show(to: Address): void {
  setAddress(to);
  if (to.page === "chart") setChartShown(to);
}

addEventListener("popstate", () => show(parseAddress(location.pathname, location.search)));
