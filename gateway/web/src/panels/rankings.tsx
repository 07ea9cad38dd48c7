/** Live symbols ranked by a measure over a window. */

import { For, createEffect, createSignal, onCleanup } from "solid-js";
import { MEASURES, type Measure, WINDOWS, type Window, rankings } from "../api/market";
import { percent, size } from "../format";
import { keep, kept } from "../kept";
import type { Ranked } from "../live/messages";
import { every } from "../market";
import { chartShown, choose, setPanelShown } from "../state";
import { colourOf } from "./watch";

const EVERY_MS = 2_000;
const SHOWN = 100;

export function RankingsPanel() {
  const [window, setWindow] = createSignal<Window>(kept("ranked.window", "24h"));
  const [measure, setMeasure] = createSignal<Measure>(kept("ranked.measure", "change"));
  const [ranked, setRanked] = createSignal<readonly Ranked[]>([]);
  createEffect(() => {
    const [over, by] = [window(), measure()];
    const ending = new AbortController();
    void every(EVERY_MS, ending.signal, async (signal) => {
      const rows = await rankings(over, by, signal);
      setRanked(rows.slice(0, SHOWN));
    });
    onCleanup(() => ending.abort());
  });
  const text = (one: Ranked) => (measure() === "turnover" ? size(one.turnover) : percent(one[measure()]));
  const Choice = <T extends string>(props: { of: readonly T[]; chosen: T; choose: (one: T) => void; name: string }) => (
    <div class="flex" role="group" aria-label={props.name}>
      <For each={props.of}>
        {(one) => (
          <button type="button" class="key" aria-pressed={props.chosen === one} onClick={() => props.choose(one)}>
            {one}
          </button>
        )}
      </For>
    </div>
  );
  return (
    <section class="flex min-h-0 flex-1 flex-col" aria-label="Rankings">
      <div class="flex justify-between px-1.5 py-1">
        <Choice
          of={MEASURES}
          chosen={measure()}
          name="Measure"
          choose={(one) => {
            keep("ranked.measure", one);
            setMeasure(() => one);
          }}
        />
        <Choice
          of={WINDOWS}
          chosen={window()}
          name="Window"
          choose={(one) => {
            keep("ranked.window", one);
            setWindow(() => one);
          }}
        />
      </div>
      <ol class="min-h-0 flex-1 overflow-y-auto" data-rankings>
        <For each={ranked()}>
          {(one, index) => (
            <li>
              <button
                type="button"
                class="row grid-cols-[24px_minmax(0,1fr)_80px]"
                classList={{ "bg-raised": one.symbol === chartShown().symbol && one.venue === chartShown().venue }}
                onClick={() => {
                  choose(one);
                  setPanelShown(false);
                }}
              >
                <span class="text-muted text-right">{index() + 1}</span>
                <span class="truncate text-left">{one.symbol}</span>
                <span class={`text-right ${measure() === "change" ? colourOf(one.change) : ""}`}>{text(one)}</span>
              </button>
            </li>
          )}
        </For>
      </ol>
    </section>
  );
}
