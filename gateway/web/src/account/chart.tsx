/** The candles of an account, drawn: what the table beside it has with all digits. */

import { CandlestickSeries, type Time, type UTCTimestamp, createChartEx } from "lightweight-charts";
import { createEffect, onCleanup, onMount } from "solid-js";
import { ZonedAxis, markDays } from "../chart/axis";
import { chartOptions } from "../chart/options";
import { zoneOfBars } from "../format";
import { zone } from "../state";
import { colours } from "../theme";
import type { Candle } from "./api";

const UNIT = 1e18;
const drawn = (units: bigint) => Number(units) / UNIT;

export function AccountChart(props: { candles: readonly Candle[]; interval: string }) {
  let element!: HTMLDivElement;
  onMount(() => {
    const axis = new ZonedAxis();
    const options = { ...chartOptions(colours(), zone(), props.interval), autoSize: true };
    const chart = createChartEx<Time, ZonedAxis>(element, axis, options);
    const series = chart.addSeries(CandlestickSeries, { borderVisible: false });
    onCleanup(() => chart.remove());
    createEffect(() => {
      chart.applyOptions(chartOptions(colours(), zone(), props.interval));
      const { up, down } = colours();
      series.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down });
    });
    createEffect(() => markDays(chart, axis, zoneOfBars(props.interval, zone())));
    createEffect(() =>
      series.setData(
        props.candles.map(({ time, open, high, low, close }) => ({
          time: (time / 1000) as UTCTimestamp,
          open: drawn(open),
          high: drawn(high),
          low: drawn(low),
          close: drawn(close),
        })),
      ),
    );
  });
  return <div ref={element} class="h-72" data-account-chart aria-hidden="true" />;
}
