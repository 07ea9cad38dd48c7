/** Finds a symbol among what is stored, to show it or to compare with it. */

import { For, Show, createMemo, createSignal, onMount } from "solid-js";
import type { Stored } from "../api/market";
import { count, dateTime } from "../format";
import { isWatched, keyOf, stored, toggleWatched } from "../market";
import { change, choose, setOverlay, setPanelShown, zone } from "../state";

const SHOWN = 50;

export function Search(props: { compare: boolean }) {
  let input!: HTMLInputElement;
  const [asked, setAsked] = createSignal("");
  const [at, setAt] = createSignal(0);
  const found = createMemo(() => matches(stored(), asked()).slice(0, SHOWN));
  onMount(() => input.focus());

  const take = (one: Stored | undefined) => {
    if (!one) return;
    if (props.compare) change({ compare: keyOf(one), scale: "percent" });
    else choose(one);
    setPanelShown(false);
    setOverlay("none");
  };
  const key = (event: KeyboardEvent) => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step) {
      event.preventDefault();
      setAt(Math.max(0, Math.min(found().length - 1, at() + step)));
      document.querySelector(`[data-found="${at()}"]`)?.scrollIntoView({ block: "nearest" });
    } else if (event.key === "Enter") take(found()[at()]);
  };

  return (
    <div
      class="sheet w-[min(520px,94vw)] overflow-hidden"
      role="dialog"
      aria-label={props.compare ? "Compare with" : "Search"}
    >
      <input
        ref={input}
        class="border-line h-9 w-full border-b bg-transparent px-3 text-[14px] outline-none"
        placeholder={props.compare ? "Compare with: symbol or venue" : "Symbol or venue"}
        aria-label="Symbol or venue"
        spellcheck={false}
        autocomplete="off"
        onInput={(event) => {
          setAsked(event.currentTarget.value);
          setAt(0);
        }}
        onKeyDown={key}
      />
      <ul class="max-h-[50vh] overflow-y-auto py-1" data-found-list>
        <For each={found()}>
          {(one, index) => (
            <li class="flex" classList={{ "bg-raised": index() === at() }} data-found={index()}>
              <button
                type="button"
                class="row flex-1 grid-cols-[minmax(0,1fr)_90px_110px_130px] phone:grid-cols-[minmax(0,1fr)_90px]"
                tabIndex={-1}
                onClick={() => take(one)}
              >
                <span class="truncate text-left">{one.symbol}</span>
                <span class="text-muted truncate text-left">{one.venue}</span>
                <span class="text-muted text-right phone:hidden">{count(one.rows)} trades</span>
                <span class="text-muted text-right phone:hidden">{dateTime(one.last, zone(), "minute")}</span>
              </button>
              <button type="button" class="key" tabIndex={-1} onClick={() => toggleWatched(one)}>
                {isWatched(one) ? "Remove" : "Watch"}
              </button>
            </li>
          )}
        </For>
        <Show when={!found().length}>
          <li class="text-muted px-3 py-1.5">
            {stored().length ? "No stored symbol has that in its name." : "Nothing is stored yet."}
          </li>
        </Show>
      </ul>
    </div>
  );
}

/** What begins with the text first, then what contains it. */
export function matches(all: readonly Stored[], asked: string): Stored[] {
  const words = asked.trim().toUpperCase().split(/\s+/).filter(Boolean);
  const fits = all.filter((one) => words.every((word) => `${one.symbol} ${one.venue}`.toUpperCase().includes(word)));
  const rank = (one: Stored) => (words[0] && one.symbol.toUpperCase().startsWith(words[0]) ? 0 : 1);
  return fits.sort((one, other) => rank(one) - rank(other) || other.rows - one.rows);
}
