/** The chart with its legend: follows what is chosen. */

import { type Accessor, createEffect, createSignal, on, onCleanup, onMount } from "solid-js";
import type { Segment, Series } from "../api/bars";
import type { Bar } from "../bars/bar";
import { BarSession } from "../bars/session";
import { feed } from "../feed";
import { decimalsOf } from "../format";
import { chartShown, zone } from "../state";
import { colours } from "../theme";
import { CandleChart } from "./candles";
import { Legend } from "./legend";

/** How near to the first loaded bar the next page is asked for. */
const AHEAD = 150;

export function ChartView() {
  let element!: HTMLDivElement;
  let chart: CandleChart | undefined;
  let session: BarSession | undefined;
  const [last, setLast] = createSignal<Bar>();
  const [hovered, setHovered] = createSignal<Bar | null>(null);
  const [decimals, setDecimals] = createSignal(2);
  const [failure, setFailure] = createSignal("");
  const [segments, setSegments] = createSignal<readonly Segment[]>([]);

  const start = ({ venue, symbol, interval }: Series) => {
    const series = { venue, symbol, interval };
    session?.stop();
    setFailure("");
    setSegments([]);
    if (!series.symbol || !chart) return;
    const drawn = chart;
    const begun = (session = new BarSession(series, feed, {
      reset: () => {
        setDecimals(decimalsOf(begun.store.bars.slice(-100).map((bar) => bar.close)));
        drawn.reset(begun.store, series.interval, decimals());
        setLast(begun.store.last);
        setHovered(null);
        performance.mark("candles");
      },
      shifted: (added) => drawn.shifted(begun.store, added),
      changed: (effect, bars) => {
        if (effect === "rebuilt") drawn.rebuilt(begun.store);
        else drawn.update(bars);
        drawn.mark(begun.store.bars.filter((bar) => bar.before));
        setLast(begun.store.last);
      },
      segments: (more) => setSegments([...segments(), ...more]),
      failed: (reason) => setFailure(reason.message),
    }));
    void begun.start();
  };

  onMount(() => {
    chart = new CandleChart(element, colours(), zone(), {
      hover: (index) => setHovered(index === null ? null : (session?.store.bars[index] ?? null)),
      visible: (from, to) => {
        if (from < AHEAD) void session?.older();
        if (session && to > session.store.bars.length - AHEAD) void session.newer();
      },
    });
    onCleanup(() => {
      session?.stop();
      chart?.remove();
    });
    const series: Accessor<string> = () => JSON.stringify([chartShown().venue, chartShown().symbol, chartShown().interval]);
    createEffect(on(series, () => start(chartShown())));
    createEffect(() => chart?.scale(chartShown().scale));
    createEffect(() => chart?.paint(colours()));
    createEffect(() => chart?.setZone(zone()));
  });

  return (
    <section class="relative flex min-h-0 min-w-0 flex-1 flex-col" aria-label="Chart">
      <Legend bar={hovered() ?? last()} decimals={decimals()} failure={failure()} />
      <div ref={element} class="min-h-0 flex-1" data-chart />
    </section>
  );
}
