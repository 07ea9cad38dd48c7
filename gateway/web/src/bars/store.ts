/** The bars of one series in memory: a window of its history, and the live end. */

import { type Bar, type BarChange, sameValues } from "./bar";

/** What a change did to what is drawn: nothing; to the last bar, or added it; to bars before; or bars came or went. */
export type Effect = "none" | "last" | "older" | "rebuilt";

const ORDER: readonly Effect[] = ["none", "last", "older", "rebuilt"];
const WHOLE = ["open", "high", "low", "close", "volume", "trades"] as const;

export class BarStore {
  /** In order of time, each time once. */
  private items: Bar[] = [];
  private end = true;

  /** At most `most` bars are kept: those of the side that is looked at. */
  constructor(private readonly most = 20_000) {}

  get bars(): readonly Bar[] {
    return this.items;
  }

  /** Whether the newest bars are in the window, so that live changes go on from them. */
  get reachesEnd(): boolean {
    return this.end;
  }

  get first(): Bar | undefined {
    return this.items[0];
  }

  get last(): Bar | undefined {
    return this.items.at(-1);
  }

  /** Start again with the newest bars. */
  reset(bars: readonly Bar[]): void {
    this.items = sorted(bars);
    this.end = true;
  }

  /** Put bars before the window; returns how many were added. The newest are dropped beyond the bound. */
  addOlder(bars: readonly Bar[]): number {
    const first = this.first?.time ?? Infinity;
    const added = sorted(bars).filter((bar) => bar.time < first);
    this.items = [...added, ...this.items];
    if (this.items.length > this.most) {
      this.items.length = this.most;
      this.end = false;
    }
    return added.length;
  }

  /** Put bars after the window, of which there are no newer ones if `complete`; returns how many were dropped. */
  addNewer(bars: readonly Bar[], complete: boolean): number {
    const last = this.last?.time ?? -Infinity;
    this.items = [...this.items, ...sorted(bars).filter((bar) => bar.time > last)];
    this.end = complete;
    const dropped = Math.max(0, this.items.length - this.most);
    this.items.splice(0, dropped);
    return dropped;
  }

  /** Take bars as stored now: those that differ from what was final here are revised. */
  refresh(bars: readonly Bar[]): Effect {
    return this.apply(bars.map(({ time, origin, before: _, ...fields }) => ({ time, origin, fields })));
  }

  /** Apply changes. A change of a bar that is not here and is not whole is left out: its bar is not in the window. */
  apply(changes: readonly BarChange[]): Effect {
    let effect: Effect = "none";
    for (const change of changes) {
      const one = this.applyOne(change);
      if (ORDER.indexOf(one) > ORDER.indexOf(effect)) effect = one;
    }
    return effect;
  }

  /** The index of the last bar that starts at or before `time`; -1: none. */
  indexAt(time: number): number {
    let low = 0;
    let high = this.items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.items[middle]!.time <= time) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  private applyOne({ time, fields, origin = "live" }: BarChange): Effect {
    const index = this.indexAt(time);
    const present = this.items[index]?.time === time ? this.items[index] : undefined;
    if (fields === null) {
      if (!present) return "none";
      this.items.splice(index, 1);
      return "rebuilt";
    }
    if (!present) return this.insert({ time, fields, origin }, index + 1);
    const changed: Bar = { ...present, ...fields, origin };
    const same = sameValues(present, changed);
    const before = present.before ?? (present.final && !same ? present : undefined);
    this.items[index] = before ? { ...changed, before } : changed;
    if (same) return "none";
    return index === this.items.length - 1 ? "last" : "older";
  }

  private insert({ time, fields, origin }: BarChange, index: number): Effect {
    const atEnd = index === this.items.length;
    const inWindow = (atEnd && this.end) || (!atEnd && index > 0);
    if (!fields || !inWindow || WHOLE.some((name) => fields[name] === undefined)) return "none";
    this.items.splice(index, 0, { final: false, revision: 0, ...fields, time, origin } as Bar);
    if (!atEnd) return "rebuilt";
    if (this.items.length <= this.most) return "last";
    this.items.shift();
    return "rebuilt";
  }
}

/** By time; of equal times the later one. */
function sorted(bars: readonly Bar[]): Bar[] {
  return [...new Map(bars.map((bar) => [bar.time, bar])).values()].sort((one, other) => one.time - other.time);
}
