import { describe, expect, test } from "vitest";
import { type Chart, formatAddress, parseAddress } from "../src/address";

const CHART: Chart = {
  page: "chart",
  venue: "sim",
  symbol: "BTCUSDT",
  interval: "5m",
  scale: "linear",
  compare: "",
  zone: "",
};

describe("an address", () => {
  test("says venue, symbol and interval", () => {
    expect(parseAddress("/chart/sim/BTCUSDT", "?interval=5m")).toEqual(CHART);
  });

  test.each<Partial<Chart>>([
    {},
    { symbol: "BTC/USD" },
    { symbol: "A?B#C%D E" },
    { venue: "ü", symbol: "+" },
    { interval: "1M", scale: "log" },
    { scale: "percent", compare: "sim/ETHUSDT" },
    { zone: "utc" },
    { zone: "America/New_York" },
    { zone: "Etc/GMT+5" },
  ])("that was made of %o is read as that", (choices) => {
    const chart = { ...CHART, ...choices };
    const url = new URL(formatAddress(chart), "http://localhost");
    expect(parseAddress(url.pathname, url.search)).toEqual(chart);
  });

  test("with a symbol whose slash was typed as it is means that symbol", () => {
    expect(parseAddress("/chart/coinbase/BTC/USD", "")).toMatchObject({ venue: "coinbase", symbol: "BTC/USD" });
  });

  test.each(["?interval=7m", "?interval=", "?interval=1m&interval=x", ""])(
    "with the query %s has the usual interval",
    (query) => {
      expect(parseAddress("/chart/sim/S", query)).toMatchObject({ interval: "1m" });
    },
  );

  test.each(["/chart/%/S", "/chart", "/chart/", "/elsewhere/a/b", "//"])("such as %s breaks nothing", (path) => {
    expect(parseAddress(path, "?scale=wild")).toMatchObject({ page: "chart", scale: "linear" });
  });

  test.each(["?zone=", "?zone=Mars/Olympus", "?zone=%3Cb%3E", ""])("with the query %s says no time zone", (query) => {
    expect(parseAddress("/chart/sim/S", query)).toMatchObject({ zone: "" });
  });

  test("of the system page is its own", () => {
    expect(parseAddress("/system", "")).toEqual({ page: "system" });
    expect(formatAddress({ page: "system" })).toBe("/system");
  });

  test("of an account has its id and the interval", () => {
    const account = { page: "account", account: "9223372036854775806", interval: "4h" } as const;
    expect(formatAddress(account)).toBe("/account/9223372036854775806?interval=4h");
    expect(parseAddress("/account/9223372036854775806", "?interval=4h")).toEqual(account);
    expect(parseAddress("/account/", "?interval=x")).toEqual({ page: "account", account: "", interval: "30m" });
  });

  test("of no symbol is the start", () => {
    expect(formatAddress({ ...CHART, symbol: "" })).toBe("/");
  });
});
