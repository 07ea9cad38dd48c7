import { expect, test } from "vitest";
import { INTERVALS, endOf, startOf } from "../src/intervals";

const at = (text: string) => Date.parse(text) / 1000;

test.each([
  ["15s", "2024-03-01T09:05:07Z", "2024-03-01T09:05:00Z", "2024-03-01T09:05:15Z"],
  ["4h", "2024-03-01T09:05:07Z", "2024-03-01T08:00:00Z", "2024-03-01T12:00:00Z"],
  ["1w", "2024-03-03T23:59:59Z", "2024-02-26T00:00:00Z", "2024-03-04T00:00:00Z"],
  ["1M", "2024-02-29T12:00:00Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"],
  ["1M", "2023-12-31T23:00:00Z", "2023-12-01T00:00:00Z", "2024-01-01T00:00:00Z"],
])("a bar of %s that has %s is from %s to %s", (interval, time, start, end) => {
  expect(startOf(at(time), interval)).toBe(at(start));
  expect(endOf(at(start), interval)).toBe(at(end));
});

test("there are twelve intervals, ever longer ones", () => {
  const seconds = INTERVALS.map((one) => one.seconds);
  expect(seconds).toHaveLength(12);
  expect(seconds).toEqual([...seconds].sort((one, other) => one - other));
});
