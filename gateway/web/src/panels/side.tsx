/** What is beside the chart: the watch list, and one of book, trades and rankings. On a phone one at a time. */

import { For, Match, Show, Switch } from "solid-js";
import { type Panel, panel, panelShown, setPanel, setPanelShown, settled } from "../state";
import { BookPanel } from "./book";
import { RankingsPanel } from "./rankings";
import { TradesPanel } from "./trades";
import { WatchList } from "./watch";
import { isPhone } from "../width";

const PANELS: readonly { name: Panel; title: string }[] = [
  { name: "book", title: "Book" },
  { name: "trades", title: "Trades" },
  { name: "rankings", title: "Rankings" },
];

export function Side() {
  return (
    <Show when={!isPhone() || panelShown()}>
      <aside class="bg-panel border-line flex w-[300px] shrink-0 flex-col border-l phone:w-full phone:flex-1 phone:border-0">
        <Show when={!isPhone()}>
          <Show when={settled()} fallback={<div class="flex-1" />}>
            <WatchList />
          </Show>
          <nav class="border-line flex border-y px-1 py-0.5" aria-label="Panels">
            <For each={PANELS}>
              {(one) => (
                <button
                  type="button"
                  class="key"
                  aria-pressed={lower() === one.name}
                  onClick={() => setPanel(one.name)}
                >
                  {one.title}
                </button>
              )}
            </For>
          </nav>
        </Show>
        <div class="flex h-[432px] min-h-0 shrink-0 flex-col phone:h-auto phone:flex-1">
          <Switch>
            <Match when={!settled()}>{null}</Match>
            <Match when={isPhone() && panel() === "watch"}>
              <WatchList />
            </Match>
            <Match when={lower() === "book"}>
              <BookPanel />
            </Match>
            <Match when={lower() === "trades"}>
              <TradesPanel />
            </Match>
            <Match when={lower() === "rankings"}>
              <RankingsPanel />
            </Match>
          </Switch>
        </div>
      </aside>
    </Show>
  );
}

/** The panel below the watch list, which is always there where there is room. */
function lower(): Panel {
  return panel() === "watch" ? "book" : panel();
}

/** The foot of a phone: the chart or a panel. */
export function PhoneTabs() {
  const tabs: readonly { name: Panel | "chart"; title: string }[] = [
    { name: "chart", title: "Chart" },
    { name: "watch", title: "Watch" },
    ...PANELS,
  ];
  const chosen = () => (panelShown() ? panel() : "chart");
  const show = (name: Panel | "chart") => {
    if (name !== "chart") setPanel(name);
    setPanelShown(name !== "chart");
  };
  return (
    <Show when={isPhone()}>
      <nav class="bg-panel border-line grid grid-cols-5 border-t" aria-label="Chart and panels">
        <For each={tabs}>
          {(tab) => (
            <button type="button" class="key h-11" aria-pressed={chosen() === tab.name} onClick={() => show(tab.name)}>
              {tab.title}
            </button>
          )}
        </For>
      </nav>
    </Show>
  );
}
