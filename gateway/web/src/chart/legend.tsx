/** The values of the bar under the crosshair, or of the last one. */

import { Show } from "solid-js";
import type { Bar } from "../bars/bar";
import { dateTime, percent, price, size } from "../format";
import { chartShown, zone } from "../state";

export function Legend(props: { bar: Bar | undefined; decimals: number; failure: string }) {
  const colour = () => (props.bar && props.bar.close >= props.bar.open ? "text-up" : "text-down");
  const Value = (value: { name: string; text: string; plain?: boolean }) => (
    <span class="whitespace-nowrap">
      <span class="text-muted">{value.name} </span>
      <span class={value.plain ? "" : colour()}>{value.text}</span>
    </span>
  );
  return (
    <div class="pointer-events-none absolute top-1 left-2 z-10 flex max-w-[calc(100%-90px)] flex-wrap gap-x-2.5" data-legend>
      <span class="font-semibold">{chartShown().symbol}</span>
      <span class="text-muted">{chartShown().interval}</span>
      <Show when={props.bar}>
        {(bar) => (
          <>
            <span class="text-muted whitespace-nowrap">{dateTime(bar().time * 1000, zone(), true)}</span>
            <Value name="O" text={price(bar().open, props.decimals)} />
            <Value name="H" text={price(bar().high, props.decimals)} />
            <Value name="L" text={price(bar().low, props.decimals)} />
            <Value name="C" text={price(bar().close, props.decimals)} />
            <Value name="" text={percent(bar().close / bar().open - 1)} />
            <Value name="V" text={size(bar().volume)} plain />
          </>
        )}
      </Show>
      <Show when={props.failure}>
        <span class="text-accent" role="alert">{props.failure}</span>
      </Show>
    </div>
  );
}
