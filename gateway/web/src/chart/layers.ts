/** What is drawn with the candles of a session: stores, gaps, revisions, indicators, another symbol. */

import { barsBefore, barsFrom } from "../api/bars";
import { featuresOf, lastFeatures } from "../api/features";
import { gaps as readGaps } from "../api/market";
import type { Bar, Origin } from "../bars/bar";
import type { BarSession } from "../bars/session";
import type { Column } from "../export/csv";
import { count } from "../format";
import { endOf } from "../intervals";
import type { Gap } from "../live/messages";
import { every } from "../market";
import type { Colours } from "../theme";
import type { CandleChart } from "./candles";
import { Indicators } from "./indicators";
import type { Span } from "./spans";

export interface LayerChoices {
  readonly colours: Colours;
  readonly indicators: readonly string[];
  /** `venue/symbol`; empty: none. */
  readonly compare: string;
}

const STORES_MS = 1_000;
const NEWEST_MS = 2_000;
const GAPS_MS = 15_000;
/** Bars that indicators and another symbol are shown for: the newest ones of those loaded. */
const MOST = 10_000;
/** The panes of candles and volume. */
const OWN_PANES = 2;

export class Layers {
  gaps: readonly Gap[] = [];
  /** How many bars are marked. */
  revised = 0;
  private readonly indicators: Indicators;
  private ending = new AbortController();
  private reading: AbortController | null = null;

  constructor(
    private readonly chart: CandleChart,
    private readonly session: BarSession,
    private choices: LayerChoices,
    private readonly changed: () => void,
  ) {
    this.indicators = new Indicators(chart.chart);
    const { signal } = this.ending;
    void every(STORES_MS, signal, async () => this.showStores());
    void every(NEWEST_MS, signal, (ended) => this.readNewest(ended));
    void every(GAPS_MS, signal, (ended) => this.readGaps(ended));
    this.showIndicators();
  }

  stop(): void {
    this.ending.abort();
    this.reading?.abort();
    this.indicators.show([], this.choices.colours, OWN_PANES);
    this.chart.compare(null);
    this.chart.showGaps([]);
    this.chart.showStores([]);
    this.chart.mark([]);
  }

  choose(choices: LayerChoices): void {
    this.choices = choices;
    this.showIndicators();
    this.windowChanged();
  }

  /** Other bars are loaded: what goes with them is read. */
  windowChanged(): void {
    this.showStores();
    this.markRevised();
    this.reading?.abort();
    this.reading = new AbortController();
    const { signal } = this.reading;
    for (const read of [this.readGaps(signal), this.readIndicators(signal), this.readCompared(signal)]) {
      read.catch(() => {}); // read again when bars are loaded next; the chart says what the gateway answers
    }
  }

  markRevised(): void {
    const revised = this.session.store.bars.filter((bar) => bar.before);
    if (revised.length === this.revised) return;
    this.revised = revised.length;
    this.chart.mark(revised);
    this.changed();
  }

  /** The bars from each store. */
  counts(): Record<Origin, number> {
    const counts: Record<Origin, number> = { live: 0, questdb: 0, clickhouse: 0 };
    for (const bar of this.session.store.bars) counts[bar.origin] += 1;
    return counts;
  }

  /** What is shown with the bars, by its name. */
  columns(): Column[] {
    const { compare } = this.choices;
    const compared = compare
      ? [{ name: `close of ${compare}`, at: (time: number) => this.chart.comparedAt(time) }]
      : [];
    return [...compared, ...this.indicators.columns()];
  }

  private showIndicators(): void {
    this.indicators.show(this.choices.indicators, this.choices.colours, OWN_PANES);
    this.chart.shareHeight();
  }

  private showStores(): void {
    const { colours } = this.choices;
    const colourOf = { live: colours.live, questdb: colours.questdb, clickhouse: colours.clickhouse };
    this.chart.showStores(runs(this.session.store.bars, this.session.series.interval, (origin) => colourOf[origin]));
    this.changed();
  }

  private async readGaps(signal: AbortSignal): Promise<void> {
    const first = this.session.store.first;
    if (!first) return;
    this.gaps = (await readGaps(this.session.series, first.time, signal)).filter((gap) => gap.kind === "trades");
    const colour = this.choices.colours.gap;
    this.chart.showGaps(
      this.gaps.map((gap) => ({ start: gap.start / 1000, end: gap.end / 1000, colour, label: describe(gap) })),
    );
    this.changed();
  }

  private async readIndicators(signal: AbortSignal): Promise<void> {
    const bars = this.session.store.bars.slice(-MOST);
    const [first, last] = [bars[0], bars.at(-1)];
    if (!this.choices.indicators.length || !first || !last) return;
    const { series } = this.session;
    const found = await featuresOf(series, first.time, endOf(last.time, series.interval), signal);
    this.indicators.setData(found, (time) => this.closeAt(time));
  }

  private async readCompared(signal: AbortSignal): Promise<void> {
    const first = this.session.store.bars.at(-MOST) ?? this.session.store.first;
    const series = this.comparedSeries();
    if (!series || !first) return this.chart.compare(null);
    const page = await barsFrom(series, MOST, first.time, undefined, signal);
    this.chart.compare(page.filter((bar) => this.has(bar.time)));
  }

  private async readNewest(signal: AbortSignal): Promise<void> {
    if (!this.session.store.reachesEnd || !this.session.store.last) return;
    if (this.choices.indicators.length) {
      const found = await lastFeatures(this.session.series, 2, signal);
      this.indicators.update(found, (time) => this.closeAt(time));
    }
    const series = this.comparedSeries();
    if (series) {
      const page = await barsBefore(series, 2, undefined, signal);
      this.chart.compareMore(page.filter((bar) => this.has(bar.time)));
    }
  }

  private comparedSeries() {
    const [venue = "", ...symbol] = this.choices.compare.split("/");
    return venue && symbol.length ? { venue, symbol: symbol.join("/"), interval: this.session.series.interval } : null;
  }

  /** Other times would add places to the chart's axis. */
  private has(time: number): boolean {
    return !Number.isNaN(this.closeAt(time));
  }

  /** NaN where there is no such bar. */
  private closeAt(time: number): number {
    const bar = this.session.store.bars[this.session.store.indexAt(time)];
    return bar?.time === time ? bar.close : NaN;
  }
}

/** A gap in words. */
export function describe(gap: Gap): string {
  const missing = gap.missing === null ? "unknown number of" : count(gap.missing);
  const reason = gap.reason ? `, ${gap.reason}` : "";
  return `Gap${gap.closed ? " that was filled" : ""}: ${missing} trades${reason}`;
}

/** Spans of bars of one origin. */
export function runs(bars: readonly Bar[], interval: string, colourOf: (origin: Origin) => string): Span[] {
  const spans: Span[] = [];
  let begun: Bar | undefined;
  bars.forEach((bar, index) => {
    begun ??= bar;
    const next = bars[index + 1];
    if (next?.origin === bar.origin) return;
    const end = next ? next.time : endOf(bar.time, interval);
    spans.push({ start: begun.time, end, colour: colourOf(bar.origin), label: bar.origin });
    begun = undefined;
  });
  return spans;
}
