/** The page: what is above, beside and below the chart. */

import { For } from "solid-js";
import { ChartView } from "./chart/chart_view";
import { INTERVALS } from "./intervals";
import { change, chartShown } from "./state";

export function App() {
  return (
    <div class="flex h-dvh flex-col">
      <header class="flex gap-2 p-1">
        <For each={INTERVALS}>
          {(interval) => (
            <button
              type="button"
              aria-pressed={chartShown().interval === interval.name}
              onClick={() => change({ interval: interval.name })}
            >
              {interval.name}
            </button>
          )}
        </For>
      </header>
      <ChartView />
    </div>
  );
}
