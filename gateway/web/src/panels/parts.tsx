/** What each part last reported of itself, asked for every two seconds. */

import { Index, Show } from "solid-js";
import { type Part, parts } from "../api/system";
import { count, duration } from "../format";
import { asked } from "./asked";

const EVERY_MS = 2_000;
const lag = ({ lag_ms: ms }: Part) => (ms === null ? "–" : duration(ms));

export function Parts() {
  const { found, failure } = asked(parts, EVERY_MS);
  return (
    <section class="mt-4" aria-label="Parts">
      <Show when={failure()}>
        <p class="text-down">{failure()}</p>
      </Show>
      <table class="w-full max-w-4xl" data-parts>
        <thead class="text-muted text-left">
          <tr>
            <th class="font-normal">Part</th>
            <th class="font-normal">State</th>
            <th class="text-right font-normal">Rows/s</th>
            <th class="text-right font-normal">Lag</th>
            <th class="text-right font-normal phone:hidden">Quarantined</th>
            <th class="pl-6 font-normal phone:hidden">What it does</th>
          </tr>
        </thead>
        <tbody>
          <Index each={found()}>
            {(part) => (
              <tr class="border-line border-t">
                <td class="py-0.5">
                  {part().role}
                  {part().instance === "0" ? "" : ` ${part().instance}`}
                </td>
                <td classList={{ "text-down": part().state === "silent", "text-accent": part().state === "waiting" }}>
                  {part().state === "silent" ? `silent for ${duration(part().age_ms)}` : part().state}
                </td>
                <td class="text-right">{count(Math.round(part().rows_s))}</td>
                <td class="text-right">{lag(part())}</td>
                <td class="text-right phone:hidden">{count(part().quarantined)}</td>
                <td class="text-muted max-w-96 truncate pl-6 phone:hidden" title={part().detail}>
                  {part().detail}
                </td>
              </tr>
            )}
          </Index>
        </tbody>
      </table>
    </section>
  );
}
