/** The intervals of bars, and when each bar starts. Times are seconds since 1970, UTC. */

export interface Interval {
  readonly name: string;
  /** Of a month: 30 days, near enough to ask for a span. */
  readonly seconds: number;
}

const MINUTE = 60;
const HOUR = 3_600;
const DAY = 86_400;
/** 1970-01-05, a Monday. */
const FIRST_MONDAY = 4 * DAY;

export const INTERVALS: readonly Interval[] = [
  { name: "15s", seconds: 15 },
  { name: "30s", seconds: 30 },
  { name: "1m", seconds: MINUTE },
  { name: "3m", seconds: 3 * MINUTE },
  { name: "5m", seconds: 5 * MINUTE },
  { name: "15m", seconds: 15 * MINUTE },
  { name: "30m", seconds: 30 * MINUTE },
  { name: "1h", seconds: HOUR },
  { name: "4h", seconds: 4 * HOUR },
  { name: "1d", seconds: DAY },
  { name: "1w", seconds: 7 * DAY },
  { name: "1M", seconds: 30 * DAY },
];

export function intervalNamed(name: string): Interval | undefined {
  return INTERVALS.find((interval) => interval.name === name);
}

/** The end of the bar that starts at `start`. */
export function endOf(start: number, interval: string): number {
  if (interval === "1M") {
    const date = new Date(start * 1000);
    return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 1) / 1000;
  }
  return start + (intervalNamed(interval)?.seconds ?? MINUTE);
}

/** The start of the bar that `time` is in. */
export function startOf(time: number, interval: string): number {
  if (interval === "1M") {
    const date = new Date(time * 1000);
    return Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 1) / 1000;
  }
  const seconds = intervalNamed(interval)?.seconds ?? MINUTE;
  const origin = interval === "1w" ? FIRST_MONDAY : 0;
  return Math.floor((time - origin) / seconds) * seconds + origin;
}
