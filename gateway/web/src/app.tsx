/** The page: what is above, beside and below the chart. */

import { Match, Show, Switch, createEffect, onCleanup, onMount } from "solid-js";
import { AccountPage } from "./account/page";
import type { Account } from "./address";
import { ChartView } from "./chart/chart_view";
import { onKey, onPress } from "./keys";
import { startMarket } from "./market";
import { Header } from "./panels/header";
import { Overlays } from "./panels/overlays";
import { PhoneTabs, Side } from "./panels/side";
import { System } from "./panels/system";
import { address, chartShown, panelShown, setSettled, settled } from "./state";
import { isPhone } from "./width";

export function App() {
  onMount(() => {
    if (!chartShown().symbol || address().page !== "chart") setSettled(true);
    addEventListener("keydown", onKey);
    addEventListener("pointerdown", onPress);
    onCleanup(() => {
      removeEventListener("keydown", onKey);
      removeEventListener("pointerdown", onPress);
    });
  });
  createEffect(() => {
    // The chart says what is wrong, and a search that nothing is stored.
    if (settled()) void startMarket().catch(() => {});
  });
  return (
    <div class="flex h-dvh flex-col">
      <Switch>
        <Match when={address().page === "chart"}>
          <Header />
          <main class="flex min-h-0 flex-1">
            <Show when={!isPhone() || !panelShown()}>
              <ChartView />
            </Show>
            <Side />
          </main>
          <PhoneTabs />
        </Match>
        <Match when={address().page === "system"}>
          <System />
        </Match>
        <Match when={address().page === "account"}>
          <AccountPage address={address() as Account} />
        </Match>
      </Switch>
      <Overlays />
    </div>
  );
}
