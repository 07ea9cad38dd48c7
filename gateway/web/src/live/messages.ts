/**
 * Reads the messages of /v1/live, by position: tapehouse/stream/live_messages.py documents them.
 *
 * A topic's number is the server's name for a subscription's rows; its channel and decimals are known from SUBSCRIBED.
 */

import type { BarChange } from "../bars/bar";
import type { Price, Quote, Trade } from "./feed";
import { type Value, decode } from "./msgpack";

export type Channel = "bars" | "trades" | "quotes" | "latest" | "rankings" | "gaps";

/** What a client received last of a subscription, to go on from there: [epoch, n]. An epoch may exceed 2^53. */
export type Version = readonly [epoch: number | bigint, n: number];

export interface Ranked {
  readonly venue: string;
  readonly symbol: string;
  readonly change: number;
  readonly volatility: number;
  readonly turnover: number;
}

export interface Gap {
  readonly kind: string;
  readonly venue: string;
  readonly symbol: string;
  /** ms since 1970. */
  readonly start: number;
  readonly end: number;
  /** How many rows; null: it is not known. */
  readonly missing: number | null;
  /** Whether it was filled. */
  readonly closed: boolean;
  readonly reason: string;
}

export type Rows =
  | { readonly channel: "bars"; readonly bars: readonly BarChange[] }
  | { readonly channel: "trades"; readonly trades: readonly Trade[] }
  | { readonly channel: "quotes"; readonly quote: Quote | null }
  | { readonly channel: "latest"; readonly latest: Omit<Price, "venue" | "symbol"> | null }
  | { readonly channel: "rankings"; readonly ranked: readonly Ranked[] }
  | { readonly channel: "gaps"; readonly gaps: readonly Gap[] };

export type Message =
  | {
      readonly type: "subscribed";
      readonly id: number;
      readonly topic: number;
      readonly version: Version;
      readonly resumed: boolean;
      readonly rows: Rows;
    }
  | { readonly type: "rows"; readonly topic: number; readonly n: number; readonly rows: Rows }
  /** Seconds since 1970. */
  | { readonly type: "revised"; readonly topic: number; readonly start: number; readonly end: number }
  | { readonly type: "skipped"; readonly topic: number; readonly count: number }
  | {
      readonly type: "error";
      readonly id: number | null;
      readonly title: string;
      readonly detail: string;
      readonly remedy: string;
    }
  | { readonly type: "heartbeat"; readonly lag: number | null }
  | { readonly type: "pong"; readonly sent: number }
  | { readonly type: "slow"; readonly ms: number }
  | { readonly type: "unsubscribed"; readonly id: number };

const BAR_FIELDS = ["close", "volume", "trades", "high", "low", "open", "final", "revision"] as const;
const PRICES: ReadonlySet<string> = new Set(["open", "high", "low", "close"]);
const CHANNELS: readonly (Channel | null)[] = [null, "bars", "trades", "quotes", "latest", "rankings", "gaps"];
const NS_PER_MS = 1_000_000n;

interface Topic {
  readonly channel: Channel;
  readonly decimals: number;
}

/** Thrown for what is no message of this protocol. */
export class MessageError extends Error {}

export class MessageReader {
  private readonly topics = new Map<number, Topic>();

  /** `channelOf`: of a subscription, by its id. */
  constructor(private readonly channelOf: (id: number) => Channel | undefined) {}

  read(bytes: Uint8Array): Message {
    const items = decode(bytes);
    if (!Array.isArray(items)) throw new MessageError("expected an array");
    const type = Number(items[0]);
    const [, one, two, three] = items;
    if (type === 0) return this.subscribed(items);
    if (type >= 1 && type <= 6) return this.rowsMessage(type, items);
    switch (type) {
      case 7:
        return { type: "revised", topic: Number(one), start: ms(two) / 1000, end: ms(three) / 1000 };
      case 8:
        return { type: "skipped", topic: Number(one), count: Number(items[4]) };
      case 9:
        return {
          type: "error",
          id: numberOrNull(one),
          title: String(two),
          detail: String(three),
          remedy: String(items[4] ?? ""),
        };
      case 10:
        return { type: "heartbeat", lag: numberOrNull(two) };
      case 11:
        return { type: "pong", sent: Number(one) };
      case 12:
        return { type: "slow", ms: Number(one) };
      case 13:
        return { type: "unsubscribed", id: Number(one) };
    }
    throw new MessageError(`expected a type from 0 to 13, was ${String(items[0])}`);
  }

  private subscribed(items: Value[]): Message {
    const [, id, topic, epoch, n, resumed, decimals, rows] = items;
    const channel = this.channelOf(Number(id));
    if (!channel) throw new MessageError(`expected the id of a subscription, was ${String(id)}`);
    const found: Topic = { channel, decimals: Number(decimals) };
    this.topics.set(Number(topic), found);
    return {
      type: "subscribed",
      id: Number(id),
      topic: Number(topic),
      version: [epoch as number | bigint, Number(n)],
      resumed: Boolean(resumed),
      rows: snapshotRows(found, (rows ?? null) as Value[] | null),
    };
  }

  private rowsMessage(type: number, items: Value[]): Message {
    const topic = Number(items[1]);
    const known = this.topics.get(topic);
    if (!known || known.channel !== CHANNELS[type])
      throw new MessageError(`expected a topic of ${CHANNELS[type]}, was ${topic}`);
    const rest = items.slice(3);
    const isList = known.channel === "bars" || known.channel === "rankings" || known.channel === "gaps";
    const rows = snapshotRows(known, isList ? (rest[0] as Value[]) : rest);
    return { type: "rows", topic, n: Number(items[2]), rows };
  }
}

/** The rows of a channel: a list, or the items after n of its message; null: there is nothing yet. */
function snapshotRows({ channel, decimals }: Topic, rows: Value[] | null): Rows {
  const list = (rows ?? []) as Value[][];
  switch (channel) {
    case "bars":
      return { channel, bars: list.map((row) => barChange(row, decimals)) };
    case "trades":
      return { channel, trades: rows ? trades(rows, decimals) : [] };
    case "quotes":
      return { channel, quote: rows ? quote(rows, decimals) : null };
    case "latest":
      return { channel, latest: rows ? { time: ms(rows[0]), price: unscaled(rows[2], decimals) } : null };
    case "rankings":
      return { channel, ranked: list.map(ranked) };
    case "gaps":
      return { channel, gaps: list.map(gap) };
  }
}

function barChange(row: Value[], decimals: number): BarChange {
  const time = Number(row[0]);
  const mask = Number(row[1]);
  if (mask === 0) return { time, fields: null };
  const fields: Record<string, number | boolean> = {};
  let at = 2;
  BAR_FIELDS.forEach((name, bit) => {
    if (!(mask & (1 << bit))) return;
    const value = row[at++];
    fields[name] = name === "final" ? Boolean(value) : PRICES.has(name) ? unscaled(value, decimals) : Number(value);
  });
  return { time, fields };
}

function trades([baseTime, baseSeq, rows]: Value[], decimals: number): Trade[] {
  return (rows as Value[][]).map(([time, seq, price, size, side]) => ({
    time: ms(BigInt(baseTime as number | bigint) + BigInt(time as number | bigint)),
    seq: String(BigInt(baseSeq as number | bigint) + BigInt(seq as number | bigint)),
    price: unscaled(price, decimals),
    size: unscaled(size, decimals),
    side: Number(side),
  }));
}

function quote([time, , bid, bidSize, ask, askSize]: Value[], decimals: number): Quote {
  return {
    time: ms(time),
    bid: unscaled(bid, decimals),
    bidSize: unscaled(bidSize, decimals),
    ask: unscaled(ask, decimals),
    askSize: unscaled(askSize, decimals),
  };
}

function ranked([venue, symbol, change, volatility, turnover]: Value[]): Ranked {
  return {
    venue: String(venue),
    symbol: String(symbol),
    change: Number(change),
    volatility: Number(volatility),
    turnover: Number(turnover),
  };
}

function gap([kind, venue, symbol, start, end, , , missing, closed, reason]: Value[]): Gap {
  return {
    kind: String(kind),
    venue: String(venue),
    symbol: String(symbol),
    start: ms(start),
    end: ms(end),
    missing: numberOrNull(missing),
    closed: Boolean(closed),
    reason: String(reason ?? ""),
  };
}

/** A price or size: an integer is the number times 10^decimals, a text the number itself. */
export function unscaled(value: Value | undefined, decimals: number): number {
  if (typeof value === "number" && Number.isInteger(value)) return value / 10 ** decimals;
  return Number(value);
}

/** ns since 1970 as ms, with a fraction. */
function ms(value: Value | undefined): number {
  if (typeof value !== "bigint") return Number(value) / 1e6;
  return Number(value / NS_PER_MS) + Number(value % NS_PER_MS) / 1e6;
}

function numberOrNull(value: Value | undefined): number | null {
  return value === null || value === undefined ? null : Number(value);
}
