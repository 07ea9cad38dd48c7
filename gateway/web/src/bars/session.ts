/** One series on the chart: its history page by page, and its live end. */

import { type Series, barsBefore, barsFrom } from "../api/bars";
import { intervalNamed, startOf } from "../intervals";
import type { LiveFeed, Stop } from "../live/feed";
import type { Bar, BarChange } from "./bar";
import { BarStore, type Effect } from "./store";

const FIRST_PAGE = 500;
const PAGE = 2_000;
const COMPLETE_MS = 60_000;
/** Of fewer bars than these in the newest span, the last ones are asked for however old they are. */
const FEW = 200;

export interface SessionEvents {
  /** All bars are others. */
  reset(): void;
  /** `bars` came, `added` of them before those that were there (fewer than none: the first ones went). */
  shifted(added: number, bars: readonly Bar[]): void;
  /** Bars changed by live changes. */
  changed(effect: Effect, bars: readonly Bar[]): void;
  /** A page of history is being read, or no more. */
  reading(busy: boolean): void;
  failed(reason: Error): void;
}

export class BarSession {
  readonly store = new BarStore();
  private readonly ending = new AbortController();
  private stopLive: Stop = () => {};
  private busy = false;
  /** Until when no older page is asked for, as there was none: an import may bring one. */
  private completeUntil = 0;

  constructor(
    readonly series: Series,
    private readonly feed: LiveFeed,
    private readonly events: SessionEvents,
  ) {}

  /** Load the newest bars, then go on live. */
  async start(): Promise<void> {
    await this.exclusively(() => this.load());
    if (this.ending.signal.aborted) return;
    this.stopLive = this.feed.bars(this.series, {
      snapshot: (changes) => this.join(changes),
      changes: (changes) => this.take(changes),
      revised: (start, end) => void this.reread(start, end),
    });
  }

  stop(): void {
    this.ending.abort();
    this.stopLive();
  }

  /** The page before the window, where there is one. */
  async older(): Promise<void> {
    const first = this.store.first;
    if (!first || Date.now() < this.completeUntil) return;
    await this.exclusively(async () => {
      const page = await barsBefore(this.series, PAGE, first.time, this.ending.signal);
      this.found(page.length, PAGE);
      const added = this.store.addOlder(page);
      if (added) this.events.shifted(added, page);
    });
  }

  /** The page after the window, where older pages have displaced it. */
  async newer(): Promise<void> {
    const last = this.store.last;
    if (!last || this.store.reachesEnd) return;
    await this.exclusively(async () => {
      const page = await barsFrom(this.series, PAGE, last.time + 1, undefined, this.ending.signal);
      const dropped = this.store.addNewer(page, page.length < PAGE);
      if (dropped) this.completeUntil = 0;
      this.events.shifted(-dropped, page);
    });
  }

  /** Read the newest bars again, as after a failure. */
  async again(): Promise<void> {
    await this.exclusively(() => this.load());
  }

  /** Back to the newest bars. */
  async newest(): Promise<void> {
    if (!this.store.reachesEnd) await this.again();
  }

  private async load(): Promise<void> {
    this.store.reset(await this.newestBars());
    this.events.reset();
  }

  /** A span is found faster than the last bars, but may have few of a symbol that is seldom traded. */
  private async newestBars(): Promise<Bar[]> {
    const { signal } = this.ending;
    const seconds = intervalNamed(this.series.interval)?.seconds ?? 60;
    const start = Math.max(0, Math.floor(Date.now() / 1000) - FIRST_PAGE * seconds);
    const recent = await barsFrom(this.series, PAGE, start, undefined, signal);
    this.completeUntil = 0;
    if (recent.length > FEW && recent.length < PAGE) return recent;
    const last = await barsBefore(this.series, FIRST_PAGE, undefined, signal);
    this.found(last.length, FIRST_PAGE);
    return last;
  }

  private found(bars: number, asked: number): void {
    this.completeUntil = bars < asked ? Date.now() + COMPLETE_MS : 0;
  }

  /** The newest bars as the feed has them: they go on from those that are here, or all is loaded again. */
  private join(changes: readonly BarChange[]): void {
    const last = this.store.last?.time;
    const first = changes[0]?.time;
    const isApart = last === undefined || (first !== undefined && first > last);
    if (isApart && this.store.reachesEnd) {
      void this.exclusively(() => this.load());
    } else {
      this.take(changes);
    }
  }

  private take(changes: readonly BarChange[]): void {
    const effect = this.store.apply(changes);
    if (effect === "none") return;
    const times = changes.map((change) => change.time);
    this.events.changed(effect, this.at(times));
  }

  private async reread(start: number, end: number): Promise<void> {
    const first = this.store.first?.time;
    if (first === undefined || end < first) return;
    try {
      const from = startOf(Math.max(start, first), this.series.interval);
      const page = await barsFrom(this.series, PAGE, from, end + 1, this.ending.signal);
      const effect = this.store.refresh(page);
      if (effect !== "none") this.events.changed(effect, this.at(page.map((bar) => bar.time)));
    } catch (reason) {
      this.fail(reason);
    }
  }

  private at(times: readonly number[]): Bar[] {
    return times
      .map((time) => this.store.bars[this.store.indexAt(time)])
      .filter((bar, index): bar is Bar => bar?.time === times[index]);
  }

  /** One request for history at a time; another that comes meanwhile is not needed. */
  private async exclusively(work: () => Promise<void>): Promise<void> {
    if (this.busy) return;
    this.setBusy(true);
    try {
      await work();
    } catch (reason) {
      this.fail(reason);
    } finally {
      this.setBusy(false);
    }
  }

  private setBusy(busy: boolean): void {
    this.busy = busy;
    if (!this.ending.signal.aborted) this.events.reading(busy);
  }

  private fail(reason: unknown): void {
    if (!this.ending.signal.aborted) this.events.failed(reason instanceof Error ? reason : new Error(String(reason)));
  }
}
