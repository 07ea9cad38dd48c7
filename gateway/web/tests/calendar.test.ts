import { expect, test } from "vitest";
import { placed } from "../src/calendar";

const day = (text: string) => ({ day: text });

test("a week begins on Monday", () => {
  const found = placed([day("2024-02-25"), day("2024-02-26"), day("2024-03-04")], 53);
  expect(found.map((one) => [one.week, one.weekday])).toEqual([
    [0, 6],
    [1, 0],
    [2, 0],
  ]);
});

test("days before 1970 stand in their weeks too", () => {
  const found = placed([day("1969-12-28"), day("1969-12-29")], 53);
  expect(found.map((one) => [one.week, one.weekday])).toEqual([
    [0, 6],
    [1, 0],
  ]);
});

test("of more weeks than there is room for the last ones are shown", () => {
  const found = placed([day("2024-01-01"), day("2024-01-08"), day("2024-01-15")], 2);
  expect(found.map((one) => [one.item.day, one.week])).toEqual([
    ["2024-01-08", 0],
    ["2024-01-15", 1],
  ]);
});

test("a day of long before leaves no room empty", () => {
  const found = placed([day("2014-01-02"), day("2024-01-08"), day("2024-01-15")], 53);
  expect(found.map((one) => [one.item.day, one.week])).toEqual([
    ["2024-01-08", 0],
    ["2024-01-15", 1],
  ]);
});

test("no day has no place", () => {
  expect(placed([], 53)).toEqual([]);
});
