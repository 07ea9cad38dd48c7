/** What is laid over the page: search, time zones, and the list of keys. */

import { For, Match, Show, Switch } from "solid-js";
import { STORES } from "../chart/foot";
import { KEYS } from "../keys";
import { overlay, setOverlay } from "../state";
import { Search } from "./search";
import { Zones } from "./zones";

export function Overlays() {
  const outside = (event: MouseEvent) => event.target === event.currentTarget && setOverlay("none");
  return (
    <Show when={overlay() !== "none"}>
      <div class="fixed inset-0 z-40 flex items-start justify-center bg-black/20 pt-[9vh]" onClick={outside}>
        <Switch>
          <Match when={overlay() === "search"}>
            <Search compare={false} />
          </Match>
          <Match when={overlay() === "compare"}>
            <Search compare />
          </Match>
          <Match when={overlay() === "zones"}>
            <Zones />
          </Match>
          <Match when={overlay() === "keys"}>
            <KeyList />
          </Match>
        </Switch>
      </div>
    </Show>
  );
}

function KeyList() {
  return (
    <div class="sheet w-[min(560px,94vw)] p-4" role="dialog" aria-label="Keys" data-keys>
      <dl class="columns-2 gap-x-8 phone:columns-1">
        <For each={KEYS}>
          {(key) => (
            <div class="flex break-inside-avoid py-px">
              <dt class="text-accent w-20">{key.shown}</dt>
              <dd>{key.what}</dd>
            </div>
          )}
        </For>
      </dl>
      <p class="text-muted mt-3">
        A point above a bar: it changed after it was final. A shaded span: rows of the source are missing. The line
        below the chart tells which store the bars are from:
        <For each={STORES}>
          {(store) => (
            <span class="whitespace-nowrap">
              {" "}
              <i class={`inline-block h-[3px] w-3 align-middle ${store.colour}`} /> {store.name}
            </span>
          )}
        </For>
      </p>
      <p class="text-muted mt-2">
        Charts by TradingView Lightweight Charts™, Copyright (c) 2025 TradingView, Inc.{" "}
        <a class="underline" href="https://www.tradingview.com/" target="_blank" rel="noreferrer noopener">
          tradingview.com
        </a>
      </p>
    </div>
  );
}
