/** How many rows were rejected and why, and the newest of them, asked for every five seconds. */

import { For, Show } from "solid-js";
import { milliseconds } from "../api/http";
import { quarantine } from "../api/system";
import { count, dateTime } from "../format";
import { zone } from "../state";
import { asked } from "./asked";

const EVERY_MS = 5_000;

export function Quarantined() {
  const { found, failure } = asked(quarantine, EVERY_MS);
  return (
    <section class="mt-5" aria-label="Quarantine" data-quarantine>
      <Show when={failure()}>
        <p class="text-down">{failure()}</p>
      </Show>
      <Show when={found()}>
        {(all) => (
          <>
            <p>
              <span class="text-[16px]" classList={{ "text-accent": all().rows > 0 }}>
                {count(all().rows)}
              </span>
              <span class="text-muted">
                {" "}
                rows in quarantine
                {all().counted < all().rows ? `; the reasons are those of the newest ${count(all().counted)}` : ""}
              </span>
            </p>
            <Show when={all().rows}>
              <ul class="mt-1 max-w-4xl" data-reasons>
                <For each={all().reasons}>
                  {(one) => (
                    <li class="flex gap-3">
                      <span class="w-14 shrink-0 text-right">{count(one.rows)}</span>
                      <span class="min-w-0 break-words">{one.reason}</span>
                    </li>
                  )}
                </For>
              </ul>
              <details class="mt-1 max-w-4xl" data-newest>
                <summary class="text-muted cursor-pointer">The newest</summary>
                <ol>
                  <For each={all().newest}>
                    {(row) => (
                      <li class="border-line border-t py-0.5">
                        <span class="text-muted">
                          {dateTime(milliseconds(row.ts), zone(), "second")} {row.kind} {row.venue}, {row.place}
                        </span>
                        <span class="block break-words">{row.reason}</span>
                      </li>
                    )}
                  </For>
                </ol>
                <p class="text-muted mt-1">
                  `tapehouse quarantine show` has the rows whole, `tapehouse quarantine retry` tries them again.
                </p>
              </details>
            </Show>
          </>
        )}
      </Show>
    </section>
  );
}
