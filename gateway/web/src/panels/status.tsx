/** How live the page is, in words. */

import { duration } from "../format";
import type { Status } from "../live/feed";
import { status } from "../state";

const TITLES: Record<Status["state"], string> = {
  live: "Changes arrive as they happen; the time is what the newest frame took from the bar maker to the gateway.",
  delayed: "Changes arrive late by so much.",
  polling: "The live socket cannot be opened: the gateway is asked each second.",
  reconnecting: "The connection was lost and is being made again.",
  stale: "Nothing has arrived for 15 seconds: what is shown is old.",
};

export function StatusText() {
  const text = () => {
    const now = status();
    if (now.state === "live") return now.lag === null ? "live" : `live ${duration(now.lag)}`;
    if (now.state === "delayed") return `delayed ${duration(now.lag)}`;
    return now.state === "polling" ? "live each second" : now.state;
  };
  const calm = () => status().state === "live" || status().state === "polling";
  return (
    <span
      class="min-w-[84px] px-1.5 text-right"
      classList={{ "text-muted": calm(), "text-accent": !calm() }}
      title={TITLES[status().state]}
      data-status={status().state}
    >
      {text()}
    </span>
  );
}
