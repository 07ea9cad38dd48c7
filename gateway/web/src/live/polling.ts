/** Live changes by asking the gateway each second. */

import { type Series, barsBefore } from "../api/bars";
import { RequestError, getJson, milliseconds } from "../api/http";
import type { Bar, BarChange } from "../bars/bar";
import { type BarSink, type Instrument, type LiveFeed, type Price, type Quote, type Status, type Stop } from "./feed";
import { STALE_MS, type Trade, type TradeSink } from "./feed";

const EVERY_MS = 1_000;
const TRADES = 60;
/** The open bar, and the one that may just have closed. */
const BARS = 2;

export class PollingFeed implements LiveFeed {
  /** When an answer came last, or the first of those that are asked for now began. */
  private answered = 0;
  private asking = 0;

  constructor(private readonly report: (status: Status) => void) {}

  bars(series: Series, sink: BarSink): Stop {
    return this.each(async (signal) => {
      const bars = await barsBefore(series, BARS, undefined, signal);
      sink.changes(bars.map(changeOf));
    });
  }

  trades(of: Instrument, sink: TradeSink): Stop {
    return this.each(async (signal) => sink.snapshot(await lastTrades(of, signal)));
  }

  quotes(of: Instrument, sink: (quote: Quote | null) => void): Stop {
    return this.each(async (signal) => sink(await lastQuote(of, signal)));
  }

  latest(of: readonly Instrument[], sink: (prices: readonly Price[]) => void): Stop {
    const venues = Map.groupBy(of, (one) => one.venue);
    return this.each(async (signal) => {
      for (const [venue, ones] of venues) {
        sink(
          await lastPrices(
            venue,
            ones.map((one) => one.symbol),
            signal,
          ),
        );
      }
    });
  }

  /** Run `ask` now and each second while the page can be seen, until stopped or refused. */
  private each(ask: (signal: AbortSignal) => Promise<void>): Stop {
    const ending = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    if (this.asking === 0) this.answered = Date.now();
    this.asking += 1;
    const again = async () => {
      const goesOn = document.hidden || (await this.once(ask, ending.signal));
      if (goesOn && !ending.signal.aborted) timer = setTimeout(again, EVERY_MS);
    };
    void again();
    return () => {
      if (!ending.signal.aborted) this.asking -= 1;
      ending.abort();
      clearTimeout(timer);
    };
  }

  /** Whether to ask again. */
  private async once(ask: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<boolean> {
    try {
      await ask(signal);
      this.answered = Date.now();
      this.report({ state: "polling" });
      return true;
    } catch (reason) {
      if (signal.aborted) return false;
      // What is not stored will not be there a second later; all else may.
      if (reason instanceof RequestError && reason.status === 400) return false;
      const silent = Date.now() - this.answered;
      this.report({ state: silent > STALE_MS ? "stale" : "reconnecting" });
      return true;
    }
  }
}

export function changeOf({ time, origin: _, before: __, ...fields }: Bar): BarChange {
  return { time, fields };
}

interface TradeRow {
  ts_event: string;
  seq: number;
  price: number;
  size: number;
  side: number;
}

/** The newest trades in order of time. */
export async function lastTrades(of: Instrument, signal?: AbortSignal): Promise<Trade[]> {
  const columns = ["ts_event", "seq", "price", "size", "side"];
  const { rows } = await getJson<{ rows: TradeRow[] }>("/v1/trades", { ...of, last: TRADES, columns }, signal);
  return rows.map(({ ts_event, seq, price, size, side }) => ({
    time: milliseconds(ts_event),
    seq: String(seq),
    price,
    size,
    side,
  }));
}

interface QuoteRow {
  ts_event: string;
  bid: number;
  bid_size: number;
  ask: number;
  ask_size: number;
}

async function lastQuote(of: Instrument, signal?: AbortSignal): Promise<Quote | null> {
  const { rows } = await getJson<{ rows: QuoteRow[] }>("/v1/quotes", { ...of, last: 1 }, signal);
  const row = rows[0];
  if (!row) return null;
  const { ts_event, bid, bid_size, ask, ask_size } = row;
  return { time: milliseconds(ts_event), bid, bidSize: bid_size, ask, askSize: ask_size };
}

/** The last prices of symbols of a venue. */
export async function lastPrices(venue: string, symbol: readonly string[], signal?: AbortSignal): Promise<Price[]> {
  if (!symbol.length) return [];
  const { rows } = await getJson<{ rows: { symbol: string; ts_event: string; price: number }[] }>(
    "/v1/latest",
    { venue, symbol },
    signal,
  );
  return rows.map((row) => ({ venue, symbol: row.symbol, price: row.price, time: milliseconds(row.ts_event) }));
}
