import { describe, expect, test } from "vitest";
import { widened } from "../src/bars/decimals";

const BAR = { open: 1000.3, high: 1000.3, low: 1000.3, close: 1000.3, volume: 0.123, trades: 1 };

describe("the decimals of a series", () => {
  test.each(["open", "high", "low", "close"] as const)(
    "are those of the longest price, if it is a bar's %s",
    (name) => {
      expect(widened(0, [BAR, { ...BAR, [name]: 1000.31 }, BAR])).toBe(2);
    },
  );

  test("become more when a bar with more comes, and not fewer after it", () => {
    const first = widened(0, [BAR]);
    const more = widened(first, [{ ...BAR, close: 1000.312 }]);
    expect([first, more, widened(more, [BAR]), widened(more, [])]).toEqual([1, 3, 3, 3]);
  });

  test("are not those of the volume", () => {
    expect(widened(0, [BAR])).toBe(1);
  });
});
