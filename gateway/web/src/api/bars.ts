/** Pages of bars from /v1/bars. */

import type { Bar, Origin } from "../bars/bar";
import { getJson, milliseconds } from "./http";

export interface Series {
  readonly venue: string;
  readonly symbol: string;
  readonly interval: string;
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

/** Which store served the bars up to `end`. */
interface SegmentRow {
  store: string;
  end: string;
}

const COLUMNS = ["ts", "open", "high", "low", "close", "volume", "trades", "final"];

/** The last `last` bars that start before `end` (seconds since 1970), or the newest. */
export function barsBefore(series: Series, last: number, end?: number, signal?: AbortSignal): Promise<Bar[]> {
  return page({ ...series, last, end: end === undefined ? undefined : nanoseconds(end) }, signal);
}

/** The first `limit` bars from `start` (seconds since 1970) on. */
export function barsFrom(series: Series, limit: number, start: number, end?: number, signal?: AbortSignal) {
  return page({ ...series, limit, start: nanoseconds(start), end: end && nanoseconds(end) }, signal);
}

async function page(parameters: Record<string, string | number | undefined>, signal?: AbortSignal): Promise<Bar[]> {
  const answer = await getJson<{ rows: Row[]; segments: SegmentRow[] }>(
    "/v1/bars",
    { ...parameters, columns: COLUMNS },
    signal,
  );
  const stores = answer.segments.map(({ store, end }) => ({
    origin: (store === "clickhouse" ? "clickhouse" : "questdb") as Origin,
    end: end === "open end" ? Infinity : milliseconds(end),
  }));
  let at = 0;
  return answer.rows.map((row) => {
    const ms = milliseconds(row.ts);
    while (at < stores.length - 1 && ms >= stores[at]!.end) at += 1;
    const origin = stores[at]?.origin ?? "questdb";
    const { open, high, low, close, volume, trades, final } = row;
    return { time: ms / 1000, open, high, low, close, volume, trades, final, revision: 0, origin };
  });
}

function nanoseconds(seconds: number): string {
  return `${BigInt(Math.floor(seconds)) * 1_000_000_000n}`;
}
