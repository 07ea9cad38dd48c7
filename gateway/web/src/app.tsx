/** The page: what is above, beside and below the chart. */

import { Show, onCleanup, onMount } from "solid-js";
import { ChartView } from "./chart/chart_view";
import { onKey } from "./keys";
import { startMarket } from "./market";
import { Header } from "./panels/header";
import { Overlays } from "./panels/overlays";
import { PhoneTabs, Side } from "./panels/side";
import { System } from "./panels/system";
import { address, panelShown } from "./state";
import { isPhone } from "./width";

export function App() {
  onMount(() => {
    void startMarket().catch(() => {}); // the chart says what is wrong; a search says that nothing is stored
    addEventListener("keydown", onKey);
    onCleanup(() => removeEventListener("keydown", onKey));
  });
  return (
    <div class="flex h-dvh flex-col">
      <Show when={address().page === "chart"} fallback={<System />}>
        <Header />
        <main class="flex min-h-0 flex-1">
          <Show when={!isPhone() || !panelShown()}>
            <ChartView />
          </Show>
          <Side />
        </main>
        <PhoneTabs />
      </Show>
      <Overlays />
    </div>
  );
}
