/** The candles of an account, drawn: what the table beside it has with all digits. */

import { CandlestickSeries, type UTCTimestamp, createChart } from "lightweight-charts";
import { createEffect, onCleanup, onMount } from "solid-js";
import { chartOptions } from "../chart/options";
import { zone } from "../state";
import { colours } from "../theme";
import type { Candle } from "./api";

const UNIT = 1e18;
const drawn = (units: bigint) => Number(units) / UNIT;

export function AccountChart(props: { candles: readonly Candle[]; interval: string }) {
  let element!: HTMLDivElement;
  onMount(() => {
    const chart = createChart(element, { ...chartOptions(colours(), zone(), props.interval), autoSize: true });
    const series = chart.addSeries(CandlestickSeries, { borderVisible: false });
    onCleanup(() => chart.remove());
    createEffect(() => {
      chart.applyOptions(chartOptions(colours(), zone(), props.interval));
      const { up, down } = colours();
      series.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down });
    });
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
