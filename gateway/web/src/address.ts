/** What the address of the page says, and the address of what is chosen. */

import { intervalNamed } from "./intervals";
import { type Zone, zoneNamed } from "./zones";

export type Scale = "linear" | "log" | "percent";

export interface Chart {
  readonly page: "chart";
  /** Empty: none is chosen. */
  readonly venue: string;
  readonly symbol: string;
  readonly interval: string;
  readonly scale: Scale;
  /** Another symbol to compare with, as `venue/symbol`; empty: none. */
  readonly compare: string;
  /** Of the times that are shown; empty: not said. */
  readonly zone: Zone;
}

export interface Account {
  readonly page: "account";
  /** Empty: none is chosen. */
  readonly account: string;
  readonly interval: string;
}

export type Address = Chart | Account | { readonly page: "system" };

export const DEFAULT_INTERVAL = "1m";
const ACCOUNT_INTERVAL = "30m";
const SCALES: readonly string[] = ["linear", "log", "percent"];

export function parseAddress(path: string, query: string): Address {
  if (path === "/system") return { page: "system" };
  const [, page, venue = "", ...rest] = path.split("/");
  const asked = new URLSearchParams(query);
  const interval = asked.get("interval") ?? "";
  if (page === "account") {
    return { page, account: decoded(venue), interval: intervalNamed(interval) ? interval : ACCOUNT_INTERVAL };
  }
  const scale = asked.get("scale") ?? "";
  return {
    page: "chart",
    venue: page === "chart" ? decoded(venue) : "",
    // A symbol may contain a slash that somebody typed as it is.
    symbol: page === "chart" ? decoded(rest.join("/")) : "",
    interval: intervalNamed(interval) ? interval : DEFAULT_INTERVAL,
    scale: SCALES.includes(scale) ? (scale as Scale) : "linear",
    compare: asked.get("compare") ?? "",
    zone: zoneNamed(asked.get("zone") ?? ""),
  };
}

export function formatAddress(address: Address): string {
  if (address.page === "system") return "/system";
  if (address.page === "account") {
    return `/account/${encodeURIComponent(address.account)}?${new URLSearchParams({ interval: address.interval })}`;
  }
  if (!address.symbol) return "/";
  const query = new URLSearchParams({ interval: address.interval });
  if (address.scale !== "linear") query.set("scale", address.scale);
  if (address.compare) query.set("compare", address.compare);
  if (address.zone) query.set("zone", address.zone);
  return `/chart/${encodeURIComponent(address.venue)}/${encodeURIComponent(address.symbol)}?${query}`;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a % that starts no escape
  }
}
