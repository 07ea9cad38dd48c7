/** Below the chart: which store the bars are from, how many gaps there are, and how many bars were revised. */

import { Show, createSignal, onCleanup } from "solid-js";
import type { Origin } from "../bars/bar";
import { clock, count } from "../format";
import { zone } from "../state";

export const STORES: readonly { origin: Origin; name: string; colour: string }[] = [
  { origin: "clickhouse", name: "ClickHouse", colour: "bg-clickhouse" },
  { origin: "questdb", name: "QuestDB", colour: "bg-questdb" },
  { origin: "live", name: "live", colour: "bg-live" },
];

export function Foot(props: { counts: Record<Origin, number>; gaps: number; revised: number }) {
  const [now, setNow] = createSignal(Date.now());
  const timer = setInterval(() => setNow(Date.now()), 1_000);
  onCleanup(() => clearInterval(timer));
  return (
    <footer class="text-muted flex h-6 shrink-0 items-center gap-3 px-2" data-foot>
      {STORES.map((store) => (
        <span class="flex items-center gap-1.5 whitespace-nowrap" title={`Bars from ${store.name}`}>
          <i class={`h-[3px] w-3 ${store.colour}`} />
          {store.name} {count(props.counts[store.origin])}
        </span>
      ))}
      <span class="whitespace-nowrap" classList={{ "text-accent": props.gaps > 0 }}>
        {props.gaps === 1 ? "1 gap" : `${count(props.gaps)} gaps`}
      </span>
      <Show when={props.revised}>
        <span class="text-accent whitespace-nowrap" title="Bars that changed after they were final">
          {count(props.revised)} revised
        </span>
      </Show>
      <span class="flex-1" />
      <span class="phone:hidden">{clock(now(), zone())}</span>
    </footer>
  );
}
