/** What brings live changes, in whichever way: by the live socket, or by polling. */

import type { Series } from "../api/bars";
import type { BarChange } from "../bars/bar";

export interface Instrument {
  readonly venue: string;
  readonly symbol: string;
}

export interface Trade {
  /** ms since 1970. */
  readonly time: number;
  /** As text, for it may have more digits than a number. */
  readonly seq: string;
  readonly price: number;
  readonly size: number;
  /** 1: the buyer took; -1: the seller took; 0: unknown. */
  readonly side: number;
}

export interface Quote {
  readonly time: number;
  readonly bid: number;
  readonly bidSize: number;
  readonly ask: number;
  readonly askSize: number;
}

export interface Price extends Instrument {
  readonly time: number;
  readonly price: number;
}

export interface BarSink {
  /** The newest bars, whole: what the reader has of before goes on from them. */
  snapshot(changes: readonly BarChange[]): void;
  changes(changes: readonly BarChange[]): void;
  /** Stored bars changed, from the one that has `start` to the one that has `end` (seconds since 1970). */
  revised(start: number, end: number): void;
}

export interface TradeSink {
  /** All of the newest trades, in order of time. */
  snapshot(trades: readonly Trade[]): void;
  more(trades: readonly Trade[]): void;
}

export type Stop = () => void;

export type Status =
  /** Changes arrive as they happen; `lag` ms after they did, where that is known. */
  | { readonly state: "live"; readonly lag: number | null }
  | { readonly state: "delayed"; readonly lag: number }
  /** The socket cannot be opened: the gateway is asked each second. */
  | { readonly state: "polling" }
  | { readonly state: "reconnecting" }
  /** Nothing arrived for long: what is shown is old. */
  | { readonly state: "stale" };

export interface LiveFeed {
  bars(series: Series, sink: BarSink): Stop;
  trades(of: Instrument, sink: TradeSink): Stop;
  quotes(of: Instrument, sink: (quote: Quote | null) => void): Stop;
  latest(of: readonly Instrument[], sink: (prices: readonly Price[]) => void): Stop;
}

/** A lag from which on changes count as delayed. */
export const DELAYED_MS = 1_000;
/** How long nothing may arrive. */
export const STALE_MS = 15_000;
