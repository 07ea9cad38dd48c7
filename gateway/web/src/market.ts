/** What the panels share: the catalog, the watch list, and prices with their change over 24 h. */

import { createMemo, createRoot, createSignal } from "solid-js";
import { createStore } from "solid-js/store";
import { type Stored, catalog, hourlyCloses, rankings } from "./api/market";
import { feed } from "./feed";
import { decimalsOf } from "./format";
import { keep, kept } from "./kept";
import type { Instrument, Price } from "./live/feed";
import { choose, chartShown, chooseFirst } from "./state";

export interface Market {
  readonly price?: number;
  /** ms since 1970, of the last trade. */
  readonly time?: number;
  /** Of the price over 24 h, a fraction. */
  readonly change?: number;
  readonly closes?: readonly number[];
  readonly decimals?: number;
}

const CHANGES_MS = 5_000;
const CATALOG_MS = 60_000;
const CLOSES_MS = 60_000;
/** Symbols of a watch list that nobody has made yet. */
const WATCHED = 14;

const [watched, setWatched] = createSignal<readonly Instrument[]>(kept<Instrument[]>("watched", []));
const [all, setAll] = createSignal<readonly Stored[]>([]);
/** The series of trades. */
const stored = createRoot(() => createMemo(() => all().filter((one) => one.kind === "trades")));
const [markets, setMarkets] = createStore<Record<string, Market>>({});
export { markets, stored, watched };

export function keyOf({ venue, symbol }: Instrument): string {
  return `${venue}/${symbol}`;
}

/** Whether there is a series of a kind, as far as the catalog is read. */
export function isStored(kind: string, { venue, symbol }: Instrument): boolean {
  return all().some((one) => one.kind === kind && one.symbol === symbol && one.venue === venue);
}

export function isWatched(one: Instrument): boolean {
  return watched().some((other) => keyOf(other) === keyOf(one));
}

export function watch(list: readonly Instrument[]): void {
  setWatched(list);
  keep("watched", list);
}

export function toggleWatched({ venue, symbol }: Instrument): void {
  const one = { venue, symbol };
  watch(isWatched(one) ? watched().filter((other) => keyOf(other) !== keyOf(one)) : [...watched(), one]);
}

/** Choose the next symbol of the watch list, or with -1 the one before. */
export function step(by: 1 | -1): void {
  const list = watched();
  const at = list.findIndex((one) => keyOf(one) === keyOf(chartShown()));
  const next = list[(at + by + list.length) % list.length];
  if (next) choose(next);
}

export function takePrices(prices: readonly Price[]): void {
  for (const { venue, symbol, price, time } of prices) {
    setMarkets(`${venue}/${symbol}`, (one) => ({ ...one, price, time, decimals: widest(one, [price]) }));
  }
}

/** The decimals of a symbol's prices only become more, so that its column does not jump. */
function widest(one: Market | undefined, prices: readonly number[]): number {
  return Math.max(one?.decimals ?? 0, decimalsOf(prices));
}

/** Read the catalog; choose a symbol and a watch list where there are none. */
export async function startMarket(): Promise<void> {
  const [found, ranked] = await Promise.all([catalog(), rankings("24h", "turnover")]);
  setAll(found);
  setTimeout(
    () => void every(CATALOG_MS, new AbortController().signal, async () => void setAll(await catalog())),
    CATALOG_MS,
  );
  const first: readonly Instrument[] = ranked.length ? ranked : stored();
  if (!watched().length) watch(first.slice(0, WATCHED).map(({ venue, symbol }) => ({ venue, symbol })));
  const chosen = kept<Instrument | null>("chosen", null);
  const known = stored().find((one) => chosen && keyOf(one) === keyOf(chosen)) ?? first[0];
  if (!chartShown().symbol && known) chooseFirst(known);
}

/** Follow the prices of some symbols until stopped. */
export function follow(list: readonly Instrument[]): () => void {
  const ending = new AbortController();
  const stop = list.length ? feed.latest(list, takePrices) : () => {};
  void every(CHANGES_MS, ending.signal, readChanges);
  void every(CLOSES_MS, ending.signal, (signal) => readCloses(list, signal));
  return () => {
    ending.abort();
    stop();
  };
}

async function readChanges(signal: AbortSignal): Promise<void> {
  for (const { venue, symbol, change } of await rankings("24h", "change", signal)) {
    setMarkets(`${venue}/${symbol}`, (one) => ({ ...one, change }));
  }
}

async function readCloses(list: readonly Instrument[], signal: AbortSignal): Promise<void> {
  for (const [venue, ones] of Map.groupBy(list, (one) => one.venue)) {
    const found = await hourlyCloses(
      venue,
      ones.map((one) => one.symbol),
      signal,
    );
    for (const [symbol, closes] of found) {
      // What is not live has no last price in the feed: its newest close stands for it.
      setMarkets(`${venue}/${symbol}`, (one) => ({
        price: closes.at(-1)!,
        ...one,
        closes,
        decimals: widest(one, closes),
      }));
    }
  }
}

/** Run `work` now and again while the page can be seen; a failure is tried again at the next time. */
export async function every(
  ms: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  while (!signal.aborted) {
    if (!document.hidden) await work(signal).catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, ms));
  }
}
