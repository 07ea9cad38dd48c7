/** The watch list: last price, change over 24 h, the day as a small line. */

import { For, Show, createEffect, onCleanup } from "solid-js";
import { percent, price } from "../format";
import { follow, isWatched, keyOf, markets, stored, toggleWatched, watched } from "../market";
import { chartShown, choose, setOverlay, setPanelShown } from "../state";

const WIDTH = 44;
const HEIGHT = 14;

export function WatchList() {
  createEffect(() => onCleanup(follow(watched())));
  return (
    <section class="flex min-h-0 flex-1 flex-col" aria-label="Watch list">
      <header class="flex items-center gap-2 px-2.5 pt-2 pb-1">
        <h2 class="text-muted flex-1">Watch list</h2>
        <button
          type="button"
          class="key"
          title="Add or remove the symbol of the chart (w)"
          onClick={() => toggleWatched(chartShown())}
        >
          {isWatched(chartShown()) ? "Remove" : "Add"} {chartShown().symbol}
        </button>
        <button type="button" class="key" title="Search (/)" onClick={() => setOverlay("search")}>
          Search
        </button>
      </header>
      <ul class="min-h-0 flex-1 overflow-y-auto" data-watch>
        <For each={watched()}>
          {(one) => {
            const market = () => markets[keyOf(one)] ?? {};
            const chosen = () => keyOf(chartShown()) === keyOf(one);
            return (
              <li>
                <button
                  type="button"
                  class="row grid-cols-[minmax(0,1fr)_44px_78px_60px]"
                  classList={{ "bg-raised": chosen() }}
                  aria-current={chosen()}
                  onClick={() => {
                    choose(one);
                    setPanelShown(false);
                  }}
                >
                  <span class="truncate text-left" title={`${one.venue} ${one.symbol}`}>
                    {one.symbol}
                  </span>
                  <Sparkline values={market().closes ?? []} />
                  <span class="text-right">{price(market().price, market().decimals ?? 0)}</span>
                  <span class={`text-right ${colourOf(market().change)}`}>{percent(market().change)}</span>
                </button>
              </li>
            );
          }}
        </For>
        <Show when={!watched().length && stored().length}>
          <li class="text-muted px-2.5 py-1">No symbols yet: press w to add the one of the chart.</li>
        </Show>
      </ul>
    </section>
  );
}

export function colourOf(change: number | undefined): string {
  return !change ? "text-muted" : change > 0 ? "text-up" : "text-down";
}

function Sparkline(props: { values: readonly number[] }) {
  const points = () => {
    const { values } = props;
    const low = Math.min(...values);
    const range = Math.max(...values) - low || 1;
    return values
      .map((value, index) => {
        const x = (index / Math.max(1, values.length - 1)) * WIDTH;
        return `${x.toFixed(1)},${(HEIGHT - 1 - ((value - low) / range) * (HEIGHT - 2)).toFixed(1)}`;
      })
      .join(" ");
  };
  return (
    <svg width={WIDTH} height={HEIGHT} viewBox={`0 0 ${WIDTH} ${HEIGHT}`} aria-hidden="true">
      <polyline points={points()} fill="none" stroke="var(--muted)" stroke-width="1" />
    </svg>
  );
}
