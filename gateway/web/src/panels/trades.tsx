/** The newest trades with size and side. */

import { For, Show, createEffect, createMemo, createSignal, on, onCleanup } from "solid-js";
import { feed } from "../feed";
import { clock, decimalsOf, price, size } from "../format";
import type { Trade } from "../live/feed";
import { chartShown, zone } from "../state";

const KEPT = 60;
const SIDES: Record<number, { name: string; title: string; colour: string }> = {
  1: { name: "B", title: "A buyer took", colour: "text-up" },
  [-1]: { name: "S", title: "A seller took", colour: "text-down" },
  0: { name: "", title: "Unknown who took", colour: "" },
};

export function TradesPanel() {
  const [trades, setTrades] = createSignal<readonly Trade[]>([]);
  createEffect(
    on(
      () => `${chartShown().venue}/${chartShown().symbol}`,
      () => {
        const { venue, symbol } = chartShown();
        setTrades([]);
        if (!symbol) return;
        onCleanup(
          feed.trades(
            { venue, symbol },
            {
              snapshot: (all) => setTrades(all.slice(-KEPT).reverse()),
              more: (more) => setTrades([...more].reverse().concat(trades()).slice(0, KEPT)),
            },
          ),
        );
      },
    ),
  );
  const decimals = createMemo(() => decimalsOf(trades().map((trade) => trade.price)));
  return (
    // It has nothing to be chosen: to be scrolled by the keyboard it takes the focus itself.
    <section class="flex min-h-0 flex-1 flex-col overflow-y-auto" aria-label="Trades" tabindex={0} data-trades>
      <For each={trades()}>
        {(trade) => {
          const side = SIDES[trade.side] ?? SIDES[0]!;
          return (
            <div class="grid h-[18px] shrink-0 grid-cols-[64px_12px_1fr_1fr] items-center px-2.5">
              <span class="text-muted">{clock(trade.time, zone())}</span>
              <span class={side.colour} title={side.title}>
                {side.name}
              </span>
              <span class={`text-right ${side.colour}`}>{price(trade.price, decimals())}</span>
              <span class="text-right">{size(trade.size)}</span>
            </div>
          );
        }}
      </For>
      <Show when={!trades().length}>
        <p class="text-muted px-2.5 py-1">No trades yet.</p>
      </Show>
    </section>
  );
}
