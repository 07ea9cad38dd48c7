/** The chart with its legend and foot: follows what is chosen. */

import { createEffect, createMemo, createSignal, on, onCleanup, onMount } from "solid-js";
import type { Series } from "../api/bars";
import type { Bar, Origin } from "../bars/bar";
import { widened } from "../bars/decimals";
import { BarSession } from "../bars/session";
import type { Effect } from "../bars/store";
import { csvOf, fileName } from "../export/csv";
import { drawWords } from "../export/picture";
import { save } from "../export/saving";
import { feed } from "../feed";
import { chartShown, indicators, setSettled, zone } from "../state";
import { colours } from "../theme";
import { CandleChart } from "./candles";
import { controlBy } from "./controls";
import { Foot } from "./foot";
import { Layers, describe } from "./layers";
import { Legend } from "./legend";
import { type Failure, Notice, failureOf } from "./notice";

/** How near to the first loaded bar the next page is asked for. */
const AHEAD = 150;
/** Of more changed bars all are drawn again, which is faster. */
const FEW = 20;

export function ChartView() {
  let element!: HTMLDivElement;
  let chart!: CandleChart;
  let session: BarSession | undefined;
  let layers: Layers | undefined;
  const [last, setLast] = createSignal<Bar>();
  const [hovered, setHovered] = createSignal<Bar | null>(null);
  const [decimals, setDecimals] = createSignal(2);
  const [failure, setFailure] = createSignal<Failure | null>(null);
  const [counts, setCounts] = createSignal<Record<Origin, number>>({ live: 0, questdb: 0, clickhouse: 0 });
  const [reading, setReading] = createSignal(false);
  const [seesBefore, setSeesBefore] = createSignal(false);
  const [gaps, setGaps] = createSignal(0);
  const [revised, setRevised] = createSignal(0);
  const choices = createMemo(() => ({ colours: colours(), indicators: indicators(), compare: chartShown().compare }));

  const start = (series: Series) => {
    layers?.stop();
    session?.stop();
    setFailure(null);
    setLast(undefined);
    setHovered(null);
    setReading(false);
    if (!series.symbol) return;
    const begun = (session = new BarSession(series, feed, {
      reset: () => {
        setFailure(null);
        setDecimals(widened(0, begun.store.bars));
        chart.reset(begun.store, series.interval, decimals());
        setLast(begun.store.last);
        performance.mark("candles");
        setSettled(true);
        drawn.windowChanged();
      },
      shifted: (added, bars) => {
        chart.shifted(begun.store, added);
        widen(bars);
        drawn.windowChanged();
      },
      changed: (effect: Effect, bars: readonly Bar[]) => {
        if (effect === "rebuilt" || bars.length > FEW) chart.rebuilt(begun.store);
        else chart.update(bars);
        widen(bars);
        drawn.markRevised();
        setLast(begun.store.last);
        setHovered((bar) => bar && (begun.store.bars[begun.store.indexAt(bar.time)] ?? null));
      },
      reading: (busy) => {
        setReading(busy);
        if (busy) setFailure(null);
      },
      failed: (reason) => {
        setFailure(failureOf(reason));
        // The candles of the series before would be taken for this one's.
        if (!begun.store.last) chart.reset(begun.store, series.interval, decimals());
        setSettled(true);
      },
    }));
    const drawn = (layers = new Layers(chart, begun, choices(), () => {
      setCounts(drawn.counts());
      setGaps(drawn.gaps.length);
      setRevised(drawn.revised);
    }));
    void begun.start();
  };

  const widen = (bars: readonly Bar[]) => {
    if (widened(decimals(), bars) === decimals()) return;
    setDecimals(widened(decimals(), bars));
    chart.setDecimals(decimals());
  };
  const named = (bar: Bar, extension: string) => {
    const { venue, symbol, interval } = chartShown();
    return fileName([venue, symbol, interval], bar.time, extension);
  };
  const saveBars = () => {
    const seen = chart.seen();
    if (!seen[0]) return;
    const text = csvOf(seen, layers?.columns() ?? []);
    save(new Blob([text], { type: "text/csv" }), named(seen[0], "csv"));
  };
  const savePicture = () => {
    const seen = chart.seen()[0];
    if (!seen) return;
    const canvas = chart.picture();
    const legend = element.parentElement?.querySelector("[data-legend]");
    if (legend) drawWords(canvas, legend, element);
    canvas.toBlob((body) => body && save(body, named(seen, "png")));
  };

  const gapAt = (bar: Bar | null) => {
    const gap = bar && layers?.gaps.find((one) => one.end / 1000 >= bar.time && one.start / 1000 <= bar.time);
    return gap ? describe(gap) : "";
  };

  onMount(() => {
    chart = new CandleChart(element, colours(), zone(), {
      hover: (index) => setHovered(index === null ? null : (session?.store.bars[index] ?? null)),
      visible: (from, to) => {
        setSeesBefore(from < 0);
        if (from < AHEAD) void session?.older();
        if (session && to > session.store.bars.length - AHEAD) void session.newer();
      },
    });
    controlBy({
      scroll: (share) => chart.scroll(share),
      zoom: (factor) => chart.zoom(factor),
      newest: () => void session?.newest().then(() => chart.newest()),
      saveBars,
      savePicture,
    });
    onCleanup(() => {
      controlBy(null);
      layers?.stop();
      session?.stop();
      chart.remove();
    });
    const chosen = createMemo(() => JSON.stringify([chartShown().venue, chartShown().symbol, chartShown().interval]));
    createEffect(
      on(chosen, () => {
        const { venue, symbol, interval } = chartShown();
        start({ venue, symbol, interval });
      }),
    );
    createEffect(on(choices, (now) => layers?.choose(now), { defer: true }));
    createEffect(() => chart.scale(chartShown().scale));
    createEffect(() => chart.paint(colours()));
    createEffect(() => chart.setZone(zone()));
    createEffect(() => {
      const now = last();
      const price = now ? `${now.close.toFixed(decimals())} ` : "";
      document.title = chartShown().symbol ? `${price}${chartShown().symbol}` : "Tapehouse";
    });
  });

  return (
    <section class="flex min-h-0 min-w-0 flex-1 flex-col" aria-label="Chart">
      <div class="relative min-h-0 flex-1">
        <Legend
          bar={hovered() ?? last()}
          decimals={decimals()}
          failure={last() ? failure() : null}
          gap={gapAt(hovered())}
        />
        <div
          ref={element}
          class="absolute inset-0 transition-opacity"
          classList={{ "opacity-20 delay-200": reading() && !last() }}
          data-chart
        />
        <Notice
          hasBars={Boolean(last())}
          reading={reading()}
          before={seesBefore()}
          failure={failure()}
          series={chartShown().symbol && `${chartShown().symbol} ${chartShown().interval}`}
          again={() => void session?.again()}
        />
      </div>
      <Foot counts={counts()} gaps={gaps()} revised={revised()} />
    </section>
  );
}
