/** The values of the bar under the crosshair, or of the last one. */

import { Show } from "solid-js";
import { type Bar, type Values, differences } from "../bars/bar";
import { count, dateTime, detailOf, percent, price, size, zoneOfBars } from "../format";
import { chartShown, zone } from "../state";
import { STORES } from "./foot";
import type { Failure } from "./notice";

export function Legend(props: { bar: Bar | undefined; decimals: number; failure: Failure | null; gap: string }) {
  const colour = () => (props.bar && props.bar.close >= props.bar.open ? "text-up" : "text-down");
  const Value = (value: { name: string; text: string; plain?: boolean }) => (
    <span class="whitespace-nowrap">
      <span class="text-muted">{value.name} </span>
      <span class={value.plain ? "" : colour()}>{value.text}</span>
    </span>
  );
  return (
    <div
      class="pointer-events-none absolute top-1 left-2 z-10 flex max-w-[calc(100%-90px)] flex-wrap gap-x-2.5"
      data-legend
    >
      <span class="font-semibold">{chartShown().symbol}</span>
      <span class="text-muted">{chartShown().interval}</span>
      <Show when={props.bar}>
        {(bar) => (
          <>
            <span class="text-muted whitespace-nowrap">
              {dateTime(bar().time * 1000, zoneOfBars(chartShown().interval, zone()), detailOf(chartShown().interval))}
            </span>
            <Value name="O" text={price(bar().open, props.decimals)} />
            <Value name="H" text={price(bar().high, props.decimals)} />
            <Value name="L" text={price(bar().low, props.decimals)} />
            <Value name="C" text={price(bar().close, props.decimals)} />
            <Value name="" text={percent(bar().close / bar().open - 1)} />
            <Value name="V" text={size(bar().volume)} plain />
            <Value name="Trades" text={count(bar().trades)} plain />
            <span class="text-muted">{STORES.find((store) => store.origin === bar().origin)?.name}</span>
            <Show when={bar().before}>
              {(before) => (
                <span class="text-accent" data-revised>
                  {revision(before(), bar(), props.decimals)}
                </span>
              )}
            </Show>
          </>
        )}
      </Show>
      <Show when={props.gap}>
        <span class="text-accent">{props.gap}</span>
      </Show>
      <Show when={props.failure}>
        <span class="text-accent" role="alert" title={props.failure?.remedy}>
          {props.failure?.what}
        </span>
      </Show>
    </div>
  );
}

function revision(before: Values, after: Values, decimals: number): string {
  const changes = differences(before, after).map(({ name, old, new: now }) => {
    const text = (value: number) =>
      name === "trades" ? count(value) : name === "volume" ? size(value) : price(value, decimals);
    return `${name} ${text(old)} \u2192 ${text(now)}`;
  });
  return `revised: ${changes.join(", ")}`;
}
