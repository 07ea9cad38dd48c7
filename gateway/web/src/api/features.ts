/** Features of bars from /v1/features: indicators, computed by the server. */

import { type Value, decodeAll } from "../live/msgpack";
import type { Series } from "./bars";
import { RequestError, queryString } from "./http";

/** By name a number a bar, NaN where there is none; `time` in seconds since 1970. */
export interface Features {
  readonly time: readonly number[];
  readonly of: Readonly<Record<string, readonly number[]>>;
}

/** Of the bars that start in [start, end), seconds since 1970. */
export function featuresOf(series: Series, start: number, end: number, signal?: AbortSignal): Promise<Features> {
  return read(series, { start: `${BigInt(start) * 1_000_000_000n}`, end: `${BigInt(end) * 1_000_000_000n}` }, signal);
}

/** Of the last bars. */
export function lastFeatures(series: Series, last: number, signal?: AbortSignal): Promise<Features> {
  return read(series, { last }, signal);
}

async function read(series: Series, span: Record<string, string | number>, signal?: AbortSignal): Promise<Features> {
  const { venue, symbol, interval } = series;
  const asked = queryString({ venue, symbol, interval, ...span, format: "msgpack" });
  const answer = await fetch(`/v1/features${asked}`, signal ? { signal } : {});
  if (!answer.ok) throw new RequestError(answer.status, `features: status ${answer.status}`, "");
  const documents = decodeAll(new Uint8Array(await answer.arrayBuffer()));
  const { columns } = documents[0] as { columns: string[] };
  const found: Record<string, number[]> = Object.fromEntries(columns.map((name) => [name, []]));
  for (const batch of documents.slice(1)) {
    if (!Array.isArray(batch)) continue;
    columns.forEach((name, index) => found[name]!.push(...(batch[index] as Value[]).map(toNumber)));
  }
  return { time: (found["ts"] ?? []).map((ns) => Math.round(ns / 1e9)), of: found };
}

function toNumber(value: Value): number {
  return value === null || typeof value === "string" ? NaN : Number(value);
}
