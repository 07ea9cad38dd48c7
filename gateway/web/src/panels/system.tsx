/** The system page: the parts, the days of both stores, what is in quarantine, and what is stored. */

import { For, createResource, createSignal } from "solid-js";
import { catalog, unready } from "../api/market";
import { count, dateTime } from "../format";
import { choose, chartShown, go, zone } from "../state";
import { Days } from "./days";
import { Parts } from "./parts";
import { Quarantined } from "./quarantined";
import { StatusText } from "./status";

const MOST = 2_000;

export function System() {
  const [asked, setAsked] = createSignal("");
  const [reason] = createResource(() => unready());
  const [stored] = createResource(() => catalog());
  const shown = () => {
    const words = asked().toUpperCase().split(/\s+/).filter(Boolean);
    const fits = (stored() ?? []).filter((one) =>
      words.every((word) => `${one.kind} ${one.venue} ${one.symbol}`.toUpperCase().includes(word)),
    );
    return fits.slice(0, MOST);
  };
  const kinds = () => [...Map.groupBy(stored() ?? [], (one) => one.kind)];
  return (
    <div class="flex min-h-0 flex-1 flex-col">
      <header class="bg-panel border-line flex items-center gap-2 border-b px-2 py-1">
        <button type="button" class="key" title="Back to the chart (s)" onClick={() => go(chartShown())}>
          Chart
        </button>
        <button
          type="button"
          class="key"
          title="Candles and trades of an account"
          onClick={() => go({ page: "account", account: "", interval: "30m" })}
        >
          Accounts
        </button>
        <h1 class="flex-1 font-semibold">System</h1>
        <StatusText />
      </header>
      <main class="min-h-0 flex-1 overflow-y-auto p-3">
        <p>
          <span class="text-muted">Gateway </span>
          <span data-ready>
            {reason.loading ? "being asked" : reason.error ? "does not answer" : reason() || "ready"}
          </span>
        </p>
        <Parts />
        <Days />
        <Quarantined />
        <div class="mt-5 flex flex-wrap gap-x-10 gap-y-2">
          <For each={kinds()}>
            {([kind, series]) => (
              <p>
                <span class="text-muted block">{kind}</span>
                <span class="text-[16px]">{count(series.reduce((sum, one) => sum + one.rows, 0))}</span>
                <span class="text-muted"> rows of {count(series.length)} series</span>
              </p>
            )}
          </For>
        </div>
        <input
          class="border-line mt-4 mb-2 h-7 w-72 max-w-full rounded-sm border bg-transparent px-2"
          placeholder="Kind, venue or symbol"
          aria-label="Kind, venue or symbol"
          onInput={(event) => setAsked(event.currentTarget.value)}
        />
        <table class="w-full max-w-4xl" data-catalog>
          <thead class="text-muted text-left">
            <tr>
              <th class="font-normal">Kind</th>
              <th class="font-normal">Venue</th>
              <th class="font-normal">Symbol</th>
              <th class="text-right font-normal">Rows</th>
              <th class="text-right font-normal phone:hidden">First</th>
              <th class="text-right font-normal">Last</th>
            </tr>
          </thead>
          <tbody>
            <For each={shown()}>
              {(one) => (
                <tr class="border-line border-t">
                  <td class="py-0.5">{one.kind}</td>
                  <td>{one.venue}</td>
                  <td>
                    <button type="button" class="hover:underline" onClick={() => choose(one)}>
                      {one.symbol}
                    </button>
                  </td>
                  <td class="text-right">{count(one.rows)}</td>
                  <td class="text-right phone:hidden">{dateTime(one.first, zone(), "second")}</td>
                  <td class="text-right">{dateTime(one.last, zone(), "second")}</td>
                </tr>
              )}
            </For>
          </tbody>
        </table>
      </main>
    </div>
  );
}
