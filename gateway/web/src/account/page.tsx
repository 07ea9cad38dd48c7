/** The page of an account: candles, trades and running totals, asked for every two seconds. */

import { For, Show, createEffect, createMemo, createSignal, on, onCleanup } from "solid-js";
import type { Account } from "../address";
import { dateTime } from "../format";
import { INTERVALS } from "../intervals";
import { chartShown, go, zone } from "../state";
import { amount, runningTotals } from "./amounts";
import { type AccountTrade, type Candle, candles, trades } from "./api";
import { AccountChart } from "./chart";

const EVERY_MS = 2_000;
const CANDLES = 200;
const TRADES = 200;
interface Known {
  readonly candles: readonly Candle[];
  readonly trades: readonly AccountTrade[];
}
const NOTHING: Known = { candles: [], trades: [] };

export function AccountPage(props: { address: Account }) {
  const [known, setKnown] = createSignal(NOTHING);
  const [failure, setFailure] = createSignal("");
  const chosen = createMemo(() => `${props.address.account} ${props.address.interval}`);
  createEffect(
    on(chosen, () => {
      setKnown(NOTHING);
      setFailure("");
      const { account, interval } = props.address;
      if (!account) return;
      onCleanup(following(account, interval, setKnown, setFailure));
    }),
  );
  const volumes = createMemo(() => runningTotals(known().candles.map((one) => one.volume)));
  const amounts = createMemo(() => runningTotals(known().trades.map((one) => one.trxAmount)));
  const choose = (choices: Partial<Account>) => go({ ...props.address, ...choices });
  return (
    <div class="flex min-h-0 flex-1 flex-col">
      <header class="bg-panel border-line flex flex-wrap items-center gap-2 border-b px-2 py-1">
        <button type="button" class="key" title="Back to the chart" onClick={() => go(chartShown())}>
          Chart
        </button>
        <h1 class="font-semibold">Account</h1>
        <input
          class="border-line h-6 w-48 rounded-sm border bg-transparent px-2"
          aria-label="Account id"
          placeholder="Id"
          inputmode="numeric"
          value={props.address.account}
          onChange={(event) => choose({ account: event.currentTarget.value.trim() })}
        />
        <select
          class="key bg-raised"
          aria-label="Interval"
          value={props.address.interval}
          onChange={(event) => choose({ interval: event.currentTarget.value })}
        >
          <For each={INTERVALS}>{({ name }) => <option value={name}>{name}</option>}</For>
        </select>
      </header>
      <main class="min-h-0 flex-1 overflow-y-auto p-3">
        <Show when={failure()}>
          <p class="text-down" role="alert">
            {failure()}
          </p>
        </Show>
        <AccountChart candles={known().candles} interval={props.address.interval} />
        <div class="mt-3 flex flex-wrap gap-x-10 gap-y-4">
          <Candles candles={known().candles} totals={volumes()} />
          <Trades trades={known().trades} totals={amounts()} />
        </div>
      </main>
    </div>
  );
}

/** Ask for an account again and again; returns what ends it. */
function following(
  account: string,
  interval: string,
  show: (known: Known) => void,
  fail: (reason: string) => void,
): () => void {
  const ending = new AbortController();
  let timer: ReturnType<typeof setTimeout>;
  const ask = async () => {
    try {
      const [newest, last] = await Promise.all([
        candles(account, interval, CANDLES, ending.signal),
        trades(account, TRADES, ending.signal),
      ]);
      show({ candles: newest, trades: last });
      fail("");
    } catch (reason) {
      if (!ending.signal.aborted) fail(String(reason instanceof Error ? reason.message : reason));
    }
    if (!ending.signal.aborted) timer = setTimeout(() => void ask(), EVERY_MS);
  };
  void ask();
  return () => {
    clearTimeout(timer);
    ending.abort();
  };
}

function Candles(props: { candles: readonly Candle[]; totals: readonly bigint[] }) {
  const shown = () => props.candles.map((candle, place) => ({ candle, total: props.totals[place]! })).reverse();
  return (
    <Table
      title="Candles"
      headings={["Start", "Open", "High", "Low", "Close", "Volume", "Trades", "Running total"]}
      rows={shown().map(({ candle, total }) => [
        dateTime(candle.time, zone(), "second"),
        amount(candle.open),
        amount(candle.high),
        amount(candle.low),
        amount(candle.close),
        amount(candle.volume),
        String(candle.trades),
        amount(total),
      ])}
    />
  );
}

function Trades(props: { trades: readonly AccountTrade[]; totals: readonly bigint[] }) {
  const shown = () => props.trades.map((trade, place) => ({ trade, total: props.totals[place]! })).reverse();
  return (
    <Table
      title="Trades"
      headings={["Time", "Id", "Type", "Trx amount", "Amount", "Total done", "Running total"]}
      rows={shown().map(({ trade, total }) => [
        dateTime(trade.time, zone(), "second"),
        trade.id,
        String(trade.type),
        amount(trade.trxAmount),
        amount(trade.amount),
        amount(trade.totalDone),
        amount(total),
      ])}
    />
  );
}

/** A table, the newest row first; a running total is of the rows that are shown. */
function Table(props: { title: string; headings: readonly string[]; rows: readonly string[][] }) {
  return (
    <section aria-label={props.title} class="max-w-full overflow-x-auto">
      <h2 class="text-muted mb-1">{props.title}</h2>
      <table data-rows={props.title}>
        <thead class="text-muted">
          <tr>
            <For each={props.headings}>
              {(heading, place) => (
                <th class="pr-4 font-normal" classList={{ "text-left": !place(), "text-right": Boolean(place()) }}>
                  {heading}
                </th>
              )}
            </For>
          </tr>
        </thead>
        <tbody>
          <For
            each={props.rows}
            fallback={
              <tr>
                <td class="text-muted py-0.5">None yet.</td>
              </tr>
            }
          >
            {(row) => (
              <tr class="border-line border-t">
                <For each={row}>
                  {(cell, place) => (
                    <td class="py-0.5 pr-4 whitespace-nowrap" classList={{ "text-right": Boolean(place()) }}>
                      {cell}
                    </td>
                  )}
                </For>
              </tr>
            )}
          </For>
        </tbody>
      </table>
    </section>
  );
}
