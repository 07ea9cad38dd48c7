/** What the gateway knows besides bars: the catalog, rankings, books, gaps, readiness. */

import type { Gap, Ranked } from "../live/messages";
import type { Instrument } from "../live/feed";
import { RequestError, getJson, milliseconds } from "./http";

export interface Stored extends Instrument {
  readonly kind: string;
  /** ms since 1970. */
  readonly first: number;
  readonly last: number;
  readonly rows: number;
}

export interface Book {
  /** Price and size, the best first. */
  readonly bids: readonly (readonly [number, number])[];
  readonly asks: readonly (readonly [number, number])[];
  /** ms since 1970, of the last update. */
  readonly time: number;
  /** Whether updates after its snapshot are missing. */
  readonly broken: boolean;
}

export const WINDOWS = ["1h", "24h", "7d"] as const;
export const MEASURES = ["change", "volatility", "turnover"] as const;
export type Window = (typeof WINDOWS)[number];
export type Measure = (typeof MEASURES)[number];

const MOST_RANKED = 500;

interface Row {
  kind: string;
  venue: string;
  symbol: string;
  first: string;
  last: string;
  rows: number;
}

/** What is stored, of one kind or all. */
export async function catalog(kind?: string, signal?: AbortSignal): Promise<Stored[]> {
  const { rows } = await getJson<{ rows: Row[] }>("/v1/catalog", { kind }, signal);
  return rows.map((row) => ({ ...row, first: milliseconds(row.first), last: milliseconds(row.last) }));
}

export async function rankings(window: Window, measure: Measure, signal?: AbortSignal): Promise<Ranked[]> {
  const answer = await getJson<{ rows: Ranked[] }>("/v1/rankings", { window, measure, limit: MOST_RANKED }, signal);
  return answer.rows;
}

/** The newest book of a symbol; null: there is none. */
export async function book({ venue, symbol }: Instrument, depth: number, signal?: AbortSignal): Promise<Book | null> {
  try {
    const found = await getJson<Book & { ts_event: string }>("/v1/book", { venue, symbol, depth }, signal);
    return { ...found, time: milliseconds(found.ts_event) };
  } catch (reason) {
    if (reason instanceof RequestError && reason.status === 400) return null;
    throw reason;
  }
}

interface GapRow {
  kind: string;
  venue: string;
  symbol: string;
  ts_event: string;
  ts_end: string;
  missing: number | null;
  closed: boolean;
  reason: string | null;
}

/** The gaps of a symbol from `start` (seconds since 1970) on. */
export async function gaps({ venue, symbol }: Instrument, start: number, signal?: AbortSignal): Promise<Gap[]> {
  const from = new Date(start * 1000).toISOString();
  const { rows } = await getJson<{ rows: GapRow[] }>("/v1/gaps", { venue, symbol, start: from }, signal);
  return rows.map((row) => ({
    ...row,
    start: milliseconds(row.ts_event),
    end: milliseconds(row.ts_end),
    reason: row.reason ?? "",
  }));
}

/** By symbol of a venue: its hourly closes of the last day. */
export async function hourlyCloses(venue: string, symbol: readonly string[], signal?: AbortSignal) {
  const columns = ["ts", "symbol", "close"];
  const parameters = { venue, symbol, interval: "1h", last: 24, columns };
  const { rows } = await getJson<{ rows: { symbol: string; close: number }[] }>("/v1/bars", parameters, signal);
  const closes = new Map<string, number[]>();
  for (const row of rows) closes.set(row.symbol, [...(closes.get(row.symbol) ?? []), row.close]);
  return closes;
}

/** Empty: the gateway is ready; else why not. */
export async function unready(signal?: AbortSignal): Promise<string> {
  try {
    await getJson("/readyz", {}, signal);
    return "";
  } catch (reason) {
    if (reason instanceof RequestError) return reason.message;
    throw reason;
  }
}
