/** Pages of bars from /v1/bars. */

import type { Bar, Origin } from "../bars/bar";
import { getJson, milliseconds } from "./http";

export interface Series {
  readonly venue: string;
  readonly symbol: string;
  readonly interval: string;
}

/** Which store served which span of an answer; ms since 1970. */
export interface Segment {
  readonly store: "questdb" | "clickhouse";
  readonly start: number;
  readonly end: number;
  readonly rows: number;
  readonly why: string;
  readonly quality: readonly string[];
}

export interface BarPage {
  readonly bars: Bar[];
  readonly segments: Segment[];
}

interface Row {
  ts: string;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
  trades: number;
  final: boolean;
}

interface SegmentRow {
  store: string;
  start: string;
  end: string;
  rows: number;
  why: string;
  quality: string[];
}

const COLUMNS = ["ts", "open", "high", "low", "close", "volume", "trades", "final"];

/** The last `last` bars that start before `end` (seconds since 1970), or the newest. */
export function barsBefore(series: Series, last: number, end?: number, signal?: AbortSignal): Promise<BarPage> {
  return page({ ...series, last, end: end === undefined ? undefined : nanoseconds(end) }, signal);
}

/** The first `limit` bars from `start` (seconds since 1970) on. */
export function barsFrom(series: Series, limit: number, start: number, end?: number, signal?: AbortSignal) {
  return page({ ...series, limit, start: nanoseconds(start), end: end && nanoseconds(end) }, signal);
}

async function page(parameters: Record<string, string | number | undefined>, signal?: AbortSignal): Promise<BarPage> {
  const answer = await getJson<{ rows: Row[]; segments: SegmentRow[] }>(
    "/v1/bars",
    { ...parameters, columns: COLUMNS },
    signal,
  );
  const segments = answer.segments.map(toSegment);
  let at = 0;
  const bars = answer.rows.map((row) => {
    const ms = milliseconds(row.ts);
    while (at < segments.length - 1 && ms >= segments[at]!.end) at += 1;
    const origin: Origin = segments[at]?.store ?? "questdb";
    const { open, high, low, close, volume, trades, final } = row;
    return { time: ms / 1000, open, high, low, close, volume, trades, final, revision: 0, origin };
  });
  return { bars, segments };
}

function toSegment(row: SegmentRow): Segment {
  const { store, rows, why, quality } = row;
  const end = row.end === "open end" ? Infinity : milliseconds(row.end);
  return { store: store === "clickhouse" ? store : "questdb", start: milliseconds(row.start), end, rows, why, quality };
}

function nanoseconds(seconds: number): string {
  return `${BigInt(Math.floor(seconds)) * 1_000_000_000n}`;
}
