/** What stands in the chart's place: that bars are being read, that there are none, or why they cannot be read. */

import { Match, Show, Switch } from "solid-js";
import { RequestError } from "../api/http";

export interface Failure {
  readonly what: string;
  /** Empty: none is known. */
  readonly remedy: string;
}

export function failureOf(reason: Error): Failure {
  return { what: reason.message, remedy: reason instanceof RequestError ? reason.remedy : "" };
}

export interface NoticeProps {
  /** Whether bars are shown: then what is said stands at the side where those that are read will be. */
  readonly hasBars: boolean;
  readonly reading: boolean;
  /** Whether what is seen reaches before the first bar. */
  readonly before: boolean;
  readonly failure: Failure | null;
  /** Such as `BTCUSDT 1m`. */
  readonly series: string;
  readonly again: () => void;
}

export function Notice(props: NoticeProps) {
  return (
    <div
      class="pointer-events-none absolute inset-0 z-10 flex flex-col items-center justify-center gap-1 px-6 text-center"
      classList={{ "pr-24!": !props.hasBars, "items-start!": props.hasBars }}
      aria-live="polite"
      data-notice
    >
      <Switch>
        <Match when={props.failure && !props.hasBars && props.failure}>
          {(failure) => (
            <>
              <p class="text-accent max-w-md" role="alert">
                {failure().what}
              </p>
              <Show when={failure().remedy}>
                <p class="text-muted max-w-md">{failure().remedy}</p>
              </Show>
              <button type="button" class="key bg-raised pointer-events-auto mt-1" onClick={() => props.again()}>
                Read again
              </button>
            </>
          )}
        </Match>
        <Match when={props.reading && (!props.hasBars || props.before)}>
          <p class="text-muted appears">Reading bars</p>
        </Match>
        <Match when={!props.reading && !props.hasBars && props.series}>
          <p class="text-muted">No bars of {props.series} are stored yet. The first trade begins one.</p>
        </Match>
      </Switch>
    </div>
  );
}
