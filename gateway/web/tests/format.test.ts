import { describe, expect, test } from "vitest";
import {
  clock,
  count,
  dateTime,
  decimalsOf,
  detailOf,
  duration,
  percent,
  price,
  size,
  zoneOfBars,
} from "../src/format";

describe("numbers", () => {
  test.each([
    [57301.3, 2, "57,301.30"],
    [0.000012346, 8, "0.00001235"],
    [-1234567.5, 1, "\u22121,234,567.5"],
    [-0.001, 2, "0.00"],
    [1e12, 0, "1,000,000,000,000"],
    [Number.NaN, 2, "\u2013"],
    [null, 2, "\u2013"],
  ])("the price %s with %s decimals is %s", (value, decimals, text) => {
    expect(price(value, decimals)).toBe(text);
  });

  test.each([
    [0, "0"],
    [0.00522, "0.0052"],
    [0.0000123, "0.000012"],
    [12.345, "12.35"],
    [123.45, "123.5"],
    [4512, "4,512"],
    [45_120, "45.12K"],
    [1_212_005, "1.21M"],
    [-3.2e9, "\u22123.20B"],
    [undefined, "\u2013"],
  ])("the size %s is %s", (value, text) => {
    expect(size(value)).toBe(text);
  });

  test.each([
    [0.0123, "+1.23%"],
    [-0.5, "\u221250.00%"],
    [0.00001, "0.00%"],
    [12.5, "+1,250.00%"],
    [Number.NaN, "\u2013"],
  ])("the fraction %s is %s", (value, text) => {
    expect(percent(value)).toBe(text);
  });

  test("counts have groups", () => {
    expect([count(0), count(1234), count(-1234567)]).toEqual(["0", "1,234", "\u22121,234,567"]);
  });

  test.each([
    [[1, 2], 0],
    [[1.5, 2.25], 2],
    [[57301.3], 1],
    [[0.1 + 0.2], 8],
    [[], 0],
  ])("%s need %s decimals", (values, decimals) => {
    expect(decimalsOf(values)).toBe(decimals);
  });
});

describe("times", () => {
  const MOMENT = Date.UTC(2024, 2, 1, 9, 5, 7);

  test("have two digits each", () => {
    expect(clock(MOMENT, "utc")).toBe("09:05:07");
    expect(dateTime(MOMENT, "utc", "second")).toBe("2024-03-01 09:05:07");
    expect(dateTime(MOMENT, "utc", "minute")).toBe("2024-03-01 09:05");
  });

  test.each([
    ["15s", "second"],
    ["1m", "minute"],
    ["4h", "minute"],
    ["1d", "day"],
    ["1w", "day"],
    ["1M", "day"],
  ])("of bars of %s are shown to the %s", (interval, detail) => {
    expect(detailOf(interval)).toBe(detail);
  });

  test.each(["1d", "1w", "1M"])("of bars of %s are dates of UTC in every zone", (interval) => {
    const start = Date.UTC(2024, 2, 1);
    expect(dateTime(start, zoneOfBars(interval, "America/New_York"), detailOf(interval))).toBe("2024-03-01");
    expect(zoneOfBars("4h", "America/New_York")).toBe("America/New_York");
  });

  test.each([
    [12, "12 ms"],
    [1_400, "1.4 s"],
    [45_000, "45 s"],
    [180_000, "3 min"],
    [18_000_000, "5 h"],
    [1_000_000_000, "12 d"],
  ])("%s ms are %s", (ms, text) => {
    expect(duration(ms)).toBe(text);
  });
});
