/** Bars as CSV. */

import type { Bar } from "../bars/bar";

/** Numbers that go with bars, such as those of an indicator. */
export interface Column {
  readonly name: string;
  /** Of the bar that starts at `time`, seconds since 1970; undefined: there is none. */
  at(time: number): number | undefined;
}

const BAR = ["ts", "open", "high", "low", "close", "volume", "trades", "final", "store"];

/**
 * A line a bar after one with the names. `ts` is the start, ISO 8601 in UTC; numbers are written so that they are read
 * again as the same double; what there is not is empty. Lines end with CRLF, as RFC 4180 has them.
 */
export function csvOf(bars: readonly Bar[], columns: readonly Column[]): string {
  const lines = bars.map((bar) => [
    isoOf(bar.time),
    ...[bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trades].map(numberText),
    String(bar.final),
    bar.origin,
    ...columns.map((column) => numberText(column.at(bar.time))),
  ]);
  return [[...BAR, ...columns.map(({ name }) => name)], ...lines]
    .map((fields) => `${fields.map(quoted).join(",")}\r\n`)
    .join("");
}

/** Such as sim-BTCUSDT-1m-20240301T120000Z.csv: names of venues and symbols may have what files must not. */
export function fileName(parts: readonly string[], time: number, extension: string): string {
  const at = isoOf(time).replaceAll(/[-:]/g, "");
  return `${[...parts, at].map((part) => part.replaceAll(/[^A-Za-z0-9._]+/g, "_")).join("-")}.${extension}`;
}

function isoOf(time: number): string {
  return new Date(time * 1000).toISOString().replace(".000Z", "Z");
}

function numberText(value: number | undefined): string {
  return value === undefined || !Number.isFinite(value) ? "" : String(value);
}

function quoted(field: string): string {
  return /[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
}
