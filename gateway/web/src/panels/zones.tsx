/** Chooses the zone of the times that are shown: UTC, local, or one by its name. */

import { For, Show, createMemo, createSignal, onMount } from "solid-js";
import { clock } from "../format";
import { setOverlay, setZone, zone } from "../state";
import { HERE, type Zone, offsetText, zoneLabel, zonesLike } from "../zones";

const SHOWN = 60;

export function Zones() {
  let input!: HTMLInputElement;
  const now = Date.now();
  const [asked, setAsked] = createSignal("");
  const [at, setAt] = createSignal(0);
  const found = createMemo(() => zonesLike(asked(), now).slice(0, SHOWN));
  onMount(() => input.focus());

  const take = (one: Zone | undefined) => {
    if (!one) return;
    setZone(one);
    setOverlay("none");
  };
  const key = (event: KeyboardEvent) => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step) {
      event.preventDefault();
      setAt(Math.max(0, Math.min(found().length - 1, at() + step)));
      document.getElementById(`zone-${at()}`)?.scrollIntoView({ block: "nearest" });
    } else if (event.key === "Enter") take(found()[at()]);
  };

  return (
    <div class="sheet w-[min(420px,94vw)] overflow-hidden" role="dialog" aria-label="Times">
      <input
        ref={input}
        class="border-line h-9 w-full border-b bg-transparent px-3 text-[14px] outline-none"
        placeholder="Times in: UTC, local, a place such as New York, or UTC+5:30"
        aria-label="Time zone"
        role="combobox"
        aria-expanded={true}
        aria-controls="zones"
        aria-activedescendant={found().length ? `zone-${at()}` : undefined}
        spellcheck={false}
        autocomplete="off"
        onInput={(event) => {
          setAsked(event.currentTarget.value);
          setAt(0);
        }}
        onKeyDown={key}
      />
      <div id="zones" class="max-h-[50vh] overflow-y-auto py-1" role="listbox" aria-label="Found" data-zones>
        <For each={found()}>
          {(one, index) => (
            <div
              id={`zone-${index()}`}
              class="row cursor-pointer grid-cols-[minmax(0,1fr)_80px_64px]"
              classList={{ "bg-raised": index() === at() }}
              role="option"
              aria-selected={one === zone()}
              onClick={() => take(one)}
            >
              <span class="truncate" classList={{ "font-semibold": one === zone() }}>
                {one === "local" ? `Local: ${HERE}` : one === "utc" ? zoneLabel(one) : one.replaceAll("_", " ")}
              </span>
              <span class="text-muted text-right">{offsetText(now, one)}</span>
              <span class="text-muted text-right">{clock(now, one)}</span>
            </div>
          )}
        </For>
      </div>
      <Show when={!found().length}>
        <p class="text-muted px-3 py-1.5" role="status">
          No time zone has that in its name. The names are those of the IANA database.
        </p>
      </Show>
    </div>
  );
}
