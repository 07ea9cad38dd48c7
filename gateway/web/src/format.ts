/** Numbers and times as text of a steady width. */

import { type Zone, partsOf } from "./zones";

export const MINUS = "\u2212";
const NONE = "\u2013";
const MOST_DECIMALS = 8;

/** The decimals, at most 8, that show all of `values`. */
export function decimalsOf(values: Iterable<number>): number {
  let most = 0;
  for (const value of values) {
    while (most < MOST_DECIMALS && Number(value.toFixed(most)) !== value) most += 1;
  }
  return most;
}

/** 57301.3 as 57,301.30 with 2 decimals. */
export function price(value: number | null | undefined, decimals: number): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  const text = Math.abs(value).toFixed(decimals);
  return signOf(value, text) + grouped(text);
}

/** A size in at most five characters and a unit: 0.0052, 12.35, 4,512, 1.21M. */
export function size(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  const amount = Math.abs(value);
  const sign = value < 0 ? MINUS : "";
  for (const [unit, name] of [
    [1e12, "T"],
    [1e9, "B"],
    [1e6, "M"],
    [1e4, "K"],
  ] as const) {
    if (amount >= unit) return `${sign}${significant(amount / (name === "K" ? 1e3 : unit))}${name}`;
  }
  return sign + (amount >= 1000 ? grouped(amount.toFixed(0)) : significant(amount));
}

/** 0.0123 as +1.23%. */
export function percent(fraction: number | null | undefined, decimals = 2): string {
  if (fraction === null || fraction === undefined || !Number.isFinite(fraction)) return NONE;
  const text = Math.abs(fraction * 100).toFixed(decimals);
  const zero = Number(text) === 0;
  return `${zero ? "" : fraction < 0 ? MINUS : "+"}${grouped(text)}%`;
}

export function count(value: number): string {
  return value < 0 ? MINUS + grouped(String(-value)) : grouped(String(value));
}

/** ms as 12 ms, 1.4 s, 3 min, 5 h, 2 d. */
export function duration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 90_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  if (ms < 5_400_000) return `${Math.round(ms / 60_000)} min`;
  if (ms < 172_800_000) return `${Math.round(ms / 3_600_000)} h`;
  return `${Math.round(ms / 86_400_000)} d`;
}

/** The time of day of `ms`, to the second. */
export function clock(ms: number, zone: Zone): string {
  const parts = partsOf(ms, zone);
  return `${two(parts.hour)}:${two(parts.minute)}:${two(parts.second)}`;
}

/** A date, with the time to the minute or the second where that is asked for. */
export function dateTime(ms: number, zone: Zone, detail: "day" | "minute" | "second"): string {
  const { year, month, day, hour, minute, second } = partsOf(ms, zone);
  const date = `${year}-${two(month)}-${two(day)}`;
  if (detail === "day") return date;
  return `${date} ${two(hour)}:${two(minute)}${detail === "second" ? `:${two(second)}` : ""}`;
}

/** How much of its start tells a bar of an interval from others. */
export function detailOf(interval: string): "day" | "minute" | "second" {
  if (interval.endsWith("s")) return "second";
  return /[dwM]$/.test(interval) ? "day" : "minute";
}

/** The zone of the times of bars: those of a day or longer start at midnight UTC, whatever the zone is. */
export function zoneOfBars(interval: string, zone: Zone): Zone {
  return detailOf(interval) === "day" ? "utc" : zone;
}

export function two(value: number): string {
  return String(value).padStart(2, "0");
}

function significant(amount: number): string {
  if (amount === 0) return "0";
  if (amount >= 100) return amount.toFixed(1);
  if (amount >= 1) return amount.toFixed(2);
  return amount >= 0.0001 ? amount.toFixed(4) : amount.toPrecision(2);
}

export function grouped(text: string): string {
  const [whole = "", fraction] = text.split(".");
  const groups = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return fraction === undefined ? groups : `${groups}.${fraction}`;
}

function signOf(value: number, text: string): string {
  return value < 0 && Number(text) !== 0 ? MINUS : "";
}
