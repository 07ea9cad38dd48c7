/** The order book as a ladder, and the best quotes. */

import { For, Show, createEffect, createMemo, createSignal, on, onCleanup } from "solid-js";
import { type Book, book } from "../api/market";
import { feed } from "../feed";
import { clock, decimalsOf, price, size } from "../format";
import type { Quote } from "../live/feed";
import { every, isStored, stored } from "../market";
import { chartShown, zone } from "../state";

const LEVELS = 10;
const EVERY_MS = 1_000;

export function BookPanel() {
  const [shown, setShown] = createSignal<Book | null>(null);
  const [asked, setAsked] = createSignal(false);
  const [quote, setQuote] = createSignal<Quote | null>(null);
  const of = createMemo(() => `${chartShown().venue}/${chartShown().symbol}`);

  createEffect(
    on(of, () => {
      const { venue, symbol } = chartShown();
      setShown(null);
      setQuote(null);
      setAsked(false);
      if (!symbol) return;
      const ending = new AbortController();
      const stop = feed.quotes({ venue, symbol }, setQuote);
      void every(EVERY_MS, ending.signal, async (signal) => {
        if (isStored("depth", { venue, symbol })) setShown(await book({ venue, symbol }, LEVELS, signal));
        setAsked(stored().length > 0);
      });
      onCleanup(() => {
        ending.abort();
        stop();
      });
    }),
  );

  const decimals = createMemo(() => {
    const levels = [...(shown()?.bids ?? []), ...(shown()?.asks ?? [])].map(([at]) => at);
    return decimalsOf(levels.length ? levels : [quote()?.bid ?? 0, quote()?.ask ?? 0]);
  });
  const largest = createMemo(() =>
    Math.max(
      1e-12,
      ...(shown()?.bids ?? []).map(([, amount]) => amount),
      ...(shown()?.asks ?? []).map(([, amount]) => amount),
    ),
  );
  const spread = () => {
    const now = quote();
    return now && now.bid > 0 ? ((now.ask - now.bid) / ((now.ask + now.bid) / 2)) * 1e4 : null;
  };

  return (
    <section class="flex min-h-0 flex-1 flex-col" aria-label="Order book">
      <Show
        when={shown()}
        fallback={
          <p class="text-muted flex-1 px-2.5 py-1">{asked() ? "No order book is stored." : "Reading the book"}</p>
        }
      >
        {(now) => (
          <div class="min-h-0 flex-1 overflow-y-auto" role="region" aria-label="Price levels" tabindex={0} data-book>
            <Ladder levels={padded(now().asks).reverse()} side="ask" decimals={decimals()} largest={largest()} />
            <p class="border-line text-muted my-0.5 flex h-5 items-center gap-2 border-y px-2.5">
              <span>Spread {quote() ? price(quote()!.ask - quote()!.bid, decimals()) : "–"}</span>
              <span>{spread() === null ? "" : `${spread()!.toFixed(2)} bp`}</span>
              <span class="flex-1 text-right">{clock(now().time, zone())}</span>
            </p>
            <Ladder levels={padded(now().bids)} side="bid" decimals={decimals()} largest={largest()} />
            <Show when={now().broken}>
              <p class="text-accent px-2.5 py-1">Updates after the last snapshot are missing.</p>
            </Show>
          </div>
        )}
      </Show>
      <Show when={quote()}>
        {(now) => (
          <p class="border-line grid grid-cols-2 border-t px-2.5 py-1">
            <span>
              <span class="text-muted">Bid </span>
              <span class="text-up">{price(now().bid, decimals())}</span> {size(now().bidSize)}
            </span>
            <span class="text-right">
              <span class="text-muted">Ask </span>
              <span class="text-down">{price(now().ask, decimals())}</span> {size(now().askSize)}
            </span>
          </p>
        )}
      </Show>
    </section>
  );
}

type Level = readonly [number, number] | null;

/** Always as many levels, so that nothing moves when some are missing. */
function padded(levels: readonly (readonly [number, number])[]): Level[] {
  return Array.from({ length: LEVELS }, (_, index) => levels[index] ?? null);
}

function Ladder(props: { levels: Level[]; side: "bid" | "ask"; decimals: number; largest: number }) {
  const sum = (index: number) => {
    const from = props.side === "ask" ? props.levels.slice(index) : props.levels.slice(0, index + 1);
    return from.reduce((total, level) => total + (level?.[1] ?? 0), 0);
  };
  return (
    <div>
      <For each={props.levels.map((level, index) => ({ level, total: sum(index) }))}>
        {({ level, total }) => (
          <div class="relative grid h-[18px] grid-cols-3 items-center px-2.5 text-right">
            <span
              class="absolute inset-y-px right-0 opacity-50"
              classList={{ "bg-(--up-faint)": props.side === "bid", "bg-(--down-faint)": props.side === "ask" }}
              style={{ width: `${((level?.[1] ?? 0) / props.largest) * 66}%` }}
            />
            <span class={`relative text-left ${props.side === "bid" ? "text-up" : "text-down"}`}>
              {level ? price(level[0], props.decimals) : ""}
            </span>
            <span class="relative">{level ? size(level[1]) : ""}</span>
            <span class="text-muted relative">{level ? size(total) : ""}</span>
          </div>
        )}
      </For>
    </div>
  );
}
