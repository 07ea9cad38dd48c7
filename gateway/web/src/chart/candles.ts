/** The chart of one series: candles, volume, what is drawn over them. Knows no gateway and no page. */

import {
  CandlestickSeries,
  HistogramSeries,
  type IChartApiBase,
  type ISeriesApi,
  type ISeriesMarkersPluginApi,
  LineSeries,
  type MouseEventParams,
  type Time,
  type UTCTimestamp,
  createChartEx,
  createSeriesMarkers,
} from "lightweight-charts";
import type { Scale } from "../address";
import type { Bar } from "../bars/bar";
import { price, size, zoneOfBars } from "../format";
import { endOf } from "../intervals";
import type { Colours } from "../theme";
import type { Zone } from "../zones";
import { ZonedAxis, markDays } from "./axis";
import { RIGHT_OFFSET, chartOptions, scaleMode } from "./options";
import { type Span, Spans } from "./spans";

export interface ChartEvents {
  /** The bar under the crosshair; null: there is no crosshair. */
  hover(index: number | null): void;
  /** The visible range of indexes; before 0 are bars that are not loaded. */
  visible(from: number, to: number): void;
}

export interface Bars {
  readonly bars: readonly Bar[];
  /** The index of the last bar at or before a time. */
  indexAt(time: number): number;
}

/** Of indexes. */
interface Range {
  readonly from: number;
  readonly to: number;
}

const VOLUME_SHARE = 0.18;

export class CandleChart {
  readonly chart: IChartApiBase<Time>;
  private readonly axis = new ZonedAxis();
  private readonly candles: ISeriesApi<"Candlestick">;
  private readonly volume: ISeriesApi<"Histogram">;
  private readonly markers: ISeriesMarkersPluginApi<Time>;
  private readonly gaps: Spans;
  private readonly stores: Spans;
  private compared: ISeriesApi<"Line"> | null = null;
  /** By start of the bar. */
  private readonly comparedCloses = new Map<number, number>();
  private shown: Bars = { bars: [], indexAt: () => -1 };
  private interval = "1m";
  private aimed: Range | null = null;
  /** The time of the last bar that is drawn. */
  private drawnTo = -Infinity;

  constructor(
    element: HTMLElement,
    private colours: Colours,
    private zone: Zone,
    events: ChartEvents,
  ) {
    this.chart = createChartEx<Time, ZonedAxis>(element, this.axis, {
      ...chartOptions(colours, zone, this.interval),
      autoSize: true,
    });
    this.axis.zone = zoneOfBars(this.interval, zone);
    this.candles = this.chart.addSeries(CandlestickSeries, { borderVisible: false, priceLineStyle: 3 });
    this.volume = this.chart.addSeries(
      HistogramSeries,
      {
        priceFormat: { type: "custom", minMove: 1e-8, formatter: size },
        lastValueVisible: false,
        priceLineVisible: false,
      },
      1,
    );
    this.volume.priceScale().applyOptions({ scaleMargins: { top: 0.1, bottom: 0 } });
    this.shareHeight();
    this.gaps = new Spans("shade", (time) => this.locate(time));
    this.stores = new Spans("line", (time) => this.locate(time));
    this.candles.attachPrimitive(this.gaps);
    this.volume.attachPrimitive(this.stores);
    this.markers = createSeriesMarkers(this.candles, []);
    this.paint(colours);
    this.chart.subscribeCrosshairMove((at) => events.hover(this.hovered(at)));
    this.chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range) events.visible(range.from, range.to);
    });
  }

  remove(): void {
    this.chart.remove();
  }

  /** Show other bars, the newest at the right. */
  reset(bars: Bars, interval: string, decimals: number): void {
    this.interval = interval;
    this.setDecimals(decimals);
    this.chart.applyOptions(chartOptions(this.colours, this.zone, interval));
    markDays(this.chart, this.axis, zoneOfBars(this.interval, this.zone));
    this.setAll(bars);
    this.newest();
  }

  /** How many decimals the scale shows. */
  setDecimals(decimals: number): void {
    this.candles.applyOptions({
      priceFormat: {
        type: "custom",
        minMove: 10 ** -decimals,
        formatter: (value: number) => price(value, decimals),
      },
    });
  }

  /** Show the same bars after some were put before them or taken from there: what is seen stays where it is. */
  shifted(bars: Bars, added: number): void {
    const scale = this.chart.timeScale();
    const range = scale.getVisibleLogicalRange();
    this.setAll(bars);
    if (range) scale.setVisibleLogicalRange({ from: range.from + added, to: range.to + added });
  }

  /** Show all bars again, where some came or went in between. */
  rebuilt(bars: Bars): void {
    this.shifted(bars, 0);
  }

  /** Draw bars that changed or came after the others, in order of time. */
  update(changed: readonly Bar[]): void {
    for (const bar of changed) {
      const older = bar.time < this.drawnTo;
      this.candles.update(candleOf(bar), older);
      this.volume.update(this.volumeOf(bar), older);
      this.drawnTo = Math.max(this.drawnTo, bar.time);
    }
  }

  /** Mark the bars that changed after they were final. */
  mark(revised: readonly Bar[]): void {
    const color = this.colours.accent;
    this.markers.setMarkers(
      revised.map((bar) => ({
        time: bar.time as UTCTimestamp,
        position: "aboveBar",
        shape: "circle",
        size: 0.6,
        color,
      })),
    );
  }

  showGaps(spans: readonly Span[]): void {
    this.gaps.show(spans);
  }

  showStores(spans: readonly Span[]): void {
    this.stores.show(spans);
  }

  /** A line of the closes of another symbol, in percent; null: none. */
  compare(bars: readonly Bar[] | null): void {
    this.comparedCloses.clear();
    if (!bars) {
      if (this.compared) this.chart.removeSeries(this.compared);
      this.compared = null;
      return;
    }
    const color = this.colours.accent;
    this.compared ??= this.chart.addSeries(LineSeries, { color, lineWidth: 1, priceLineVisible: false });
    this.compared.setData(bars.map((bar) => ({ time: bar.time as UTCTimestamp, value: bar.close })));
    for (const bar of bars) this.comparedCloses.set(bar.time, bar.close);
  }

  /** The close of the other symbol's bar that starts at `time`. */
  comparedAt(time: number): number | undefined {
    return this.comparedCloses.get(time);
  }

  /** The newest bars of the other symbol. */
  compareMore(bars: readonly Bar[]): void {
    const last = Number(this.compared?.data().at(-1)?.time ?? -Infinity);
    for (const bar of bars) {
      if (this.compared) this.comparedCloses.set(bar.time, bar.close);
      if (bar.time >= last) this.compared?.update({ time: bar.time as UTCTimestamp, value: bar.close });
    }
  }

  scale(scale: Scale): void {
    this.candles.priceScale().applyOptions({ mode: scaleMode(scale) });
  }

  setZone(zone: Zone): void {
    this.zone = zone;
    this.chart.applyOptions(chartOptions(this.colours, zone, this.interval));
    markDays(this.chart, this.axis, zoneOfBars(this.interval, this.zone));
  }

  paint(colours: Colours): void {
    this.colours = colours;
    this.chart.applyOptions(chartOptions(colours, this.zone, this.interval));
    const { up, down } = colours;
    this.candles.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down });
    this.volume.setData(this.shown.bars.map((bar) => this.volumeOf(bar)));
    this.compared?.applyOptions({ color: colours.accent });
  }

  newest(): void {
    // At once: while scrollToRealTime moves there for a second, it takes back what else scrolls.
    this.chart.timeScale().scrollToPosition(RIGHT_OFFSET, false);
  }

  /** The bars that are seen, those at the edges only if at least half of them is. */
  seen(): readonly Bar[] {
    const range = this.chart.timeScale().getVisibleLogicalRange();
    return range
      ? this.shown.bars.slice(Math.max(0, Math.ceil(range.from)), Math.max(0, Math.floor(range.to) + 1))
      : [];
  }

  /** What is seen, at the resolution of the screen, without the crosshair. */
  picture(): HTMLCanvasElement {
    return this.chart.takeScreenshot(true, false);
  }

  /** Move by a share of what is visible; less than 0: into the past. */
  scroll(share: number): void {
    this.aim(({ from, to }) => ({ from: from + (to - from) * share, to: to + (to - from) * share }));
  }

  /** Show so much less (below 1) or more of the past, with the right edge where it is. */
  zoom(factor: number): void {
    this.aim(({ from, to }) => ({ from: to - (to - from) * factor, to }));
  }

  /** The heights of the panes: most for the candles. */
  shareHeight(): void {
    this.chart.panes().forEach((pane, index) => pane.setStretchFactor(index === 0 ? 1 : VOLUME_SHARE));
  }

  /** Show another range. It is drawn with the next frame, and until then what goes on from it goes on from here. */
  private aim(next: (range: Range) => Range): void {
    const range = this.aimed ?? this.chart.timeScale().getVisibleLogicalRange();
    if (!range) return;
    this.aimed = next(range);
    this.chart.timeScale().setVisibleLogicalRange(this.aimed);
    requestAnimationFrame(() => (this.aimed = null));
  }

  private setAll(bars: Bars): void {
    this.shown = bars;
    this.drawnTo = bars.bars.at(-1)?.time ?? -Infinity;
    this.candles.setData(bars.bars.map(candleOf));
    this.volume.setData(bars.bars.map((bar) => this.volumeOf(bar)));
  }

  private volumeOf(bar: Bar) {
    const color = bar.close >= bar.open ? this.colours.upFaint : this.colours.downFaint;
    return { time: bar.time as UTCTimestamp, value: bar.volume, color };
  }

  private hovered(at: MouseEventParams): number | null {
    if (at.logical === undefined || !at.point) return null;
    return at.logical >= 0 && at.logical < this.shown.bars.length ? at.logical : null;
  }

  /** Where a time is on the chart: bars are half an index wide to both sides. */
  private locate(time: number): number | null {
    const { bars } = this.shown;
    if (!bars.length) return null;
    const index = this.shown.indexAt(time);
    if (index < 0) return -0.5;
    const bar = bars[index]!;
    const end = endOf(bar.time, this.interval);
    return index - 0.5 + Math.min(1, (time - bar.time) / (end - bar.time));
  }
}

function candleOf({ time, open, high, low, close }: Bar) {
  return { time: time as UTCTimestamp, open, high, low, close };
}
