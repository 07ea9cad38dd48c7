/** The candles and trades of an account. */

import { getCsv, getJson, milliseconds } from "../api/http";
import { unitsOf } from "./amounts";

export interface Candle {
  /** Its start, ms since 1970. */
  readonly time: number;
  readonly open: bigint;
  readonly high: bigint;
  readonly low: bigint;
  readonly close: bigint;
  readonly volume: bigint;
  readonly trades: number;
}

export interface AccountTrade {
  /** ms since 1970. */
  readonly time: number;
  /** As text: numbers lose the last digits of large ids. */
  readonly id: string;
  readonly type: number;
  readonly trxAmount: bigint;
  readonly amount: bigint;
  readonly totalDone: bigint;
}

interface Page<Row> {
  rows: Row[];
}
interface CandleRow {
  ts: string;
  open: string;
  high: string;
  low: string;
  close: string;
  volume: string;
  trades: number;
}
/** The last candles, in order of time. */
export async function candles(account: string, interval: string, last: number, signal: AbortSignal): Promise<Candle[]> {
  const path = `/v1/accounts/${encodeURIComponent(account)}/candles`;
  const found = await getJson<Page<CandleRow>>(path, { interval, last }, signal);
  return found.rows.map((row) => ({
    time: milliseconds(row.ts),
    open: unitsOf(row.open),
    high: unitsOf(row.high),
    low: unitsOf(row.low),
    close: unitsOf(row.close),
    volume: unitsOf(row.volume),
    trades: row.trades,
  }));
}

/** The last trades, in order of time. */
export async function trades(account: string, last: number, signal: AbortSignal): Promise<AccountTrade[]> {
  return tradesOf(await getCsv(`/v1/accounts/${encodeURIComponent(account)}/trades`, { last }, signal));
}

/** The trades in CSV, none of whose values is quoted. */
export function tradesOf(csv: string): AccountTrade[] {
  const [heading = "", ...lines] = csv.trimEnd().split("\n");
  const names = heading.split(",");
  return lines.map((line) => {
    const values = line.split(",");
    const of = (name: string) => values[names.indexOf(name)] ?? "";
    return {
      time: milliseconds(of("ts_event")),
      id: of("id"),
      type: Number(of("trans_type")),
      trxAmount: unitsOf(of("trx_amount")),
      amount: unitsOf(of("amount")),
      totalDone: unitsOf(of("total_done")),
    };
  });
}
