/** The head of the page: the symbol, the interval, how the chart is drawn, and how live it is. */

import { For } from "solid-js";
import { controls } from "../chart/controls";
import { INDICATORS } from "../chart/indicators";
import { INTERVALS } from "../intervals";
import { chartShown, change, go, indicators, setOverlay, switchTheme, toggleIndicator, zone } from "../state";
import { StatusText } from "./status";
import { isPhone } from "../width";
import { zoneLabel } from "../zones";

export function Header() {
  const toggleScale = (scale: "log" | "percent") =>
    change({ scale: chartShown().scale === scale ? "linear" : scale }, true);
  return (
    <header class="bg-panel border-line flex flex-wrap items-center gap-x-1 gap-y-0.5 border-b px-2 py-1">
      <button
        type="button"
        class="key mr-1 text-[13px] font-semibold !text-text"
        title="Search (/)"
        onClick={() => setOverlay("search")}
        data-symbol
      >
        {chartShown().symbol || "Choose a symbol"}
        <span class="text-muted ml-1.5 font-normal">{chartShown().venue}</span>
      </button>
      {isPhone() ? <IntervalMenu /> : <IntervalKeys />}
      <i class="bg-line mx-1 h-4 w-px phone:hidden" />
      <button
        type="button"
        class="key"
        aria-pressed={chartShown().scale === "log"}
        title="Logarithmic scale (l)"
        onClick={() => toggleScale("log")}
      >
        Log
      </button>
      <button
        type="button"
        class="key"
        aria-pressed={chartShown().scale === "percent"}
        title="Scale in percent (p)"
        onClick={() => toggleScale("percent")}
      >
        %
      </button>
      <details class="relative" data-menu="indicators">
        <summary class="key list-none" title="Indicators (i)">
          Indicators{indicators().length ? ` ${indicators().length}` : ""}
        </summary>
        <div class="sheet absolute top-6 left-0 z-30 w-44 p-1.5">
          <For each={INDICATORS}>
            {(one) => (
              <label class="flex h-6 items-center gap-2 px-1">
                <input
                  type="checkbox"
                  checked={indicators().includes(one.name)}
                  onChange={() => toggleIndicator(one.name)}
                />
                {one.title}
              </label>
            )}
          </For>
        </div>
      </details>
      <button
        type="button"
        class="key"
        aria-pressed={Boolean(chartShown().compare)}
        title="Compare with another symbol (c)"
        onClick={() => (chartShown().compare ? change({ compare: "", scale: "linear" }) : setOverlay("compare"))}
      >
        {chartShown().compare ? `vs ${chartShown().compare.split("/").slice(1).join("/")}` : "Compare"}
      </button>
      <details class="relative" data-menu="save">
        <summary class="key list-none">Save</summary>
        <div class="sheet absolute top-6 left-0 z-30 w-40 p-1">
          <button
            type="button"
            class="key w-full text-left"
            title="The bars that are seen (e)"
            onClick={saved("saveBars")}
          >
            Bars seen, as CSV
          </button>
          <button type="button" class="key w-full text-left" title="What is seen (g)" onClick={saved("savePicture")}>
            Picture, as PNG
          </button>
        </div>
      </details>
      <span class="flex-1" />
      <StatusText />
      <button
        type="button"
        class="key"
        title={`Times in ${zone() === "utc" ? "UTC" : zone()} (u)`}
        onClick={() => setOverlay("zones")}
        data-zone
      >
        {zoneLabel(zone())}
      </button>
      <button type="button" class="key phone:hidden" title="Dark or light (t)" onClick={switchTheme}>
        Theme
      </button>
      <button
        type="button"
        class="key phone:hidden"
        title="What is stored and served (s)"
        onClick={() => go({ page: "system" })}
      >
        System
      </button>
      <button type="button" class="key" title="Keys (?)" aria-label="Keys" onClick={() => setOverlay("keys")}>
        ?
      </button>
    </header>
  );
}

function saved(what: "saveBars" | "savePicture") {
  return (event: MouseEvent) => {
    controls()?.[what]();
    if (event.target instanceof Element) event.target.closest("details")?.removeAttribute("open");
  };
}

function IntervalKeys() {
  return (
    <div class="flex" role="group" aria-label="Interval">
      <For each={INTERVALS}>
        {({ name }) => (
          <button
            type="button"
            class="key !px-1.5"
            aria-pressed={chartShown().interval === name}
            onClick={() => change({ interval: name })}
          >
            {name}
          </button>
        )}
      </For>
    </div>
  );
}

function IntervalMenu() {
  return (
    <select
      class="key bg-raised"
      aria-label="Interval"
      value={chartShown().interval}
      onChange={(event) => change({ interval: event.currentTarget.value })}
    >
      <For each={INTERVALS}>{({ name }) => <option value={name}>{name}</option>}</For>
    </select>
  );
}
