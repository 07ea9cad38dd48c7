/** The days of each kind as a calendar: which of them is open, proven, or ClickHouse's alone. */

import { For, createResource } from "solid-js";
import { DAY_STATES, type DayState, days } from "../api/system";
import { placed } from "../calendar";
import { count } from "../format";

const MOST_WEEKS = 53;
const CELL = 11;
const FILLS: Record<DayState, string> = {
  open: "var(--store-live)",
  stale: "transparent",
  proven: "var(--store-questdb)",
  cold: "var(--store-clickhouse)",
  damaged: "var(--down)",
};
const MEANINGS: Record<DayState, string> = {
  open: "written to",
  stale: "copy missing or older",
  proven: "copy equal",
  cold: "in ClickHouse alone",
  damaged: "not as recorded",
};

export function Days() {
  const [stored] = createResource(() => days());
  const kinds = () => [...Map.groupBy(stored() ?? [], (one) => one.kind)];
  return (
    <section class="mt-5" aria-label="Days">
      <div class="flex flex-wrap gap-x-8 gap-y-3" data-days>
        <For each={kinds()}>
          {([kind, of]) => {
            const cells = placed(of, MOST_WEEKS);
            const weeks = Math.max(...cells.map((one) => one.week), 0) + 1;
            return (
              <figure>
                <figcaption class="text-muted mb-1">{kind}</figcaption>
                <svg width={weeks * (CELL + 2)} height={7 * (CELL + 2)} role="img" aria-label={`Days of ${kind}`}>
                  <For each={cells}>
                    {(one) => (
                      <rect
                        x={one.week * (CELL + 2) + 0.5}
                        y={one.weekday * (CELL + 2) + 0.5}
                        width={CELL}
                        height={CELL}
                        rx="2"
                        fill={FILLS[one.item.state]}
                        stroke={one.item.state === "stale" ? "var(--accent)" : "none"}
                      >
                        <title>{`${one.item.day}: ${one.item.state}, ${count(one.item.rows)} rows`}</title>
                      </rect>
                    )}
                  </For>
                </svg>
              </figure>
            );
          }}
        </For>
      </div>
      <p class="text-muted mt-1 flex flex-wrap gap-x-4">
        <For each={DAY_STATES}>
          {(state) => (
            <span>
              <span
                class="mr-1 inline-block size-2 rounded-[2px]"
                classList={{ "border-accent border": state === "stale" }}
                style={{ background: FILLS[state] }}
              />
              {state}: {MEANINGS[state]}
            </span>
          )}
        </For>
      </p>
    </section>
  );
}
