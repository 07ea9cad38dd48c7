/** A bar, and a change of one. */

export interface Values {
  readonly open: number;
  readonly high: number;
  readonly low: number;
  readonly close: number;
  readonly volume: number;
  readonly trades: number;
}

export interface Bar extends Values {
  /** Its start, seconds since 1970. */
  readonly time: number;
  readonly final: boolean;
  /** How often it changed after it was first published, as far as the feed tells. */
  readonly revision: number;
  /** Who it came from last. */
  readonly origin: Origin;
  /** The values of before a change that came after it was final. */
  readonly before?: Values;
}

/** "live": the bar maker by the live socket or by polling. */
export type Origin = "live" | "questdb" | "clickhouse";

/** Changed fields of the bar at `time`; null: there is no such bar any more. */
export interface BarChange {
  readonly time: number;
  readonly fields: Partial<Omit<Bar, "time" | "origin" | "before">> | null;
  /** "live" where it is not said. */
  readonly origin?: Origin;
}

const VALUES = ["open", "high", "low", "close", "volume", "trades"] as const;

/** Sums of floats in another order differ in their last digits. */
const SUM_TOLERANCE = 1e-9;

export function sameValues(one: Values, other: Values): boolean {
  return differences(one, other).length === 0;
}

function same(name: keyof Values, one: Values, other: Values): boolean {
  const apart = Math.abs(one[name] - other[name]);
  return apart === 0 || (name === "volume" && apart <= SUM_TOLERANCE * Math.abs(one.volume));
}

/** The fields that differ, old and new. */
export function differences(before: Values, after: Values): { name: keyof Values; old: number; new: number }[] {
  return VALUES.filter((name) => !same(name, before, after)).map((name) => ({
    name,
    old: before[name],
    new: after[name],
  }));
}
