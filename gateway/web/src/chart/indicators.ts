/** Indicators as lines over the candles or in panes of their own, from features. */

import {
  HistogramSeries,
  type IChartApiBase,
  type ISeriesApi,
  LineSeries,
  type Time,
  type UTCTimestamp,
} from "lightweight-charts";
import type { Features } from "../api/features";
import type { Column } from "../export/csv";
import type { Colours } from "../theme";

export interface Indicator {
  readonly name: string;
  readonly title: string;
  /** Over the candles, or below them. */
  readonly where: "over" | "below";
  readonly lines: readonly IndicatorLine[];
}

interface IndicatorLine {
  /** As a column is named. */
  readonly name: string;
  /** Which of the theme's colours for lines; 3 is grey. */
  readonly colour: 0 | 1 | 2 | 3;
  readonly bars?: true;
  readonly of: (features: Features["of"], close: readonly number[]) => readonly number[];
}

/** A feature as it is. */
function feature(name: string): Pick<IndicatorLine, "name" | "of"> {
  return { name, of: (of) => of[name] ?? [] };
}

/** A band, from the features' position in it and its width: both are of the same middle. */
function bollinger(side: -1 | 0 | 1): IndicatorLine["of"] {
  return ({ bollinger_position: position = [], bollinger_width: width = [] }, close) =>
    close.map((value, index) => {
      const wide = width[index] ?? NaN;
      const middle = value / (1 + (position[index] ?? NaN) * wide - wide / 2);
      return middle * (1 + (side * wide) / 2);
    });
}

export const INDICATORS: readonly Indicator[] = [
  { name: "ema20", title: "EMA 20", where: "over", lines: [{ colour: 0, ...feature("ema_20") }] },
  { name: "ema50", title: "EMA 50", where: "over", lines: [{ colour: 1, ...feature("ema_50") }] },
  { name: "vwap", title: "VWAP of the day", where: "over", lines: [{ colour: 2, ...feature("vwap_day") }] },
  {
    name: "bollinger",
    title: "Bollinger 20, 2",
    where: "over",
    lines: [
      { name: "bollinger_upper", colour: 3, of: bollinger(1) },
      { name: "bollinger_middle", colour: 3, of: bollinger(0) },
      { name: "bollinger_lower", colour: 3, of: bollinger(-1) },
    ],
  },
  { name: "rsi", title: "RSI 14", where: "below", lines: [{ colour: 0, ...feature("rsi_14") }] },
  {
    name: "macd",
    title: "MACD 12, 26, 9",
    where: "below",
    lines: [
      { colour: 3, bars: true, ...feature("macd_histogram") },
      { colour: 0, ...feature("macd") },
      { colour: 1, ...feature("macd_signal") },
    ],
  },
  { name: "atr", title: "ATR 14", where: "below", lines: [{ colour: 0, ...feature("atr_14") }] },
];

type Series = ISeriesApi<"Line"> | ISeriesApi<"Histogram">;
interface Drawn {
  readonly line: IndicatorLine;
  readonly series: Series;
  /** By start of the bar. */
  readonly values: Map<number, number>;
}

export class Indicators {
  private drawn: Drawn[] = [];

  constructor(private readonly chart: IChartApiBase<Time>) {}

  /** Make the series of some indicators, below the panes that are there. */
  show(names: readonly string[], colours: Colours, panes: number): void {
    this.drawn.forEach(({ series }) => this.chart.removeSeries(series));
    this.drawn = [];
    let below = panes;
    for (const indicator of INDICATORS.filter((one) => names.includes(one.name))) {
      const pane = indicator.where === "over" ? 0 : below++;
      for (const line of indicator.lines) {
        const color = colours.indicators[line.colour] ?? colours.muted;
        const options = { color, priceLineVisible: false, lastValueVisible: indicator.where === "below" };
        const series: Series = line.bars
          ? this.chart.addSeries(HistogramSeries, options, pane)
          : this.chart.addSeries(LineSeries, { ...options, lineWidth: 1, crosshairMarkerVisible: false }, pane);
        this.drawn.push({ line, series, values: new Map() });
      }
    }
  }

  /** The numbers of each line that is shown. */
  columns(): Column[] {
    return this.drawn.map(({ line, values }) => ({ name: line.name, at: (time) => values.get(time) }));
  }

  setData(features: Features, closeAt: (time: number) => number): void {
    this.each(features, closeAt, ({ series, values }, points) => {
      series.setData(points);
      values.clear();
      for (const { time, value } of points) values.set(time, value);
    });
  }

  /** The newest bars' numbers. */
  update(features: Features, closeAt: (time: number) => number): void {
    this.each(features, closeAt, ({ series, values }, points) => {
      for (const { time, value } of points) values.set(time, value);
      const last = series.data().at(-1)?.time;
      for (const point of points) if (last === undefined || point.time >= Number(last)) series.update(point);
    });
  }

  private each(
    features: Features,
    closeAt: (time: number) => number,
    draw: (drawn: Drawn, points: { time: UTCTimestamp; value: number }[]) => void,
  ): void {
    const closes = features.time.map(closeAt);
    for (const one of this.drawn) {
      const values = one.line.of(features.of, closes);
      const points = features.time.map((time, index) => ({ time: time as UTCTimestamp, value: values[index] ?? NaN }));
      draw(
        one,
        points.filter((point) => Number.isFinite(point.value)),
      );
    }
  }
}
