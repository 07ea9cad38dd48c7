import type { Time } from "lightweight-charts";
import { describe, expect, test } from "vitest";
import { ZonedAxis } from "../src/chart/axis";

const HOUR = 3_600;
/** The weight of a mark where a day begins; those of months and years are higher. */
const DAY_WEIGHT = 50;

function axisOf(zone: string) {
  const axis = new ZonedAxis();
  axis.zone = zone;
  return axis;
}

function hours(axis: ZonedAxis, first: string, count: number) {
  const start = Date.parse(first) / 1000;
  return Array.from({ length: count }, (_, hour) => {
    const time = start + hour * HOUR;
    return { timeWeight: 0, time: axis.convertHorzItemToInternal(time as Time), originalTime: time };
  }) as unknown as Parameters<ZonedAxis["fillWeightsForPoints"]>[0];
}

function days(points: Parameters<ZonedAxis["fillWeightsForPoints"]>[0]): string[] {
  return points
    .filter((point) => point.timeWeight >= DAY_WEIGHT)
    .map((point) => new Date(Number(point.originalTime) * 1000).toISOString().slice(0, 16));
}

describe("the axis marks days where they begin", () => {
  test.each([
    ["utc", ["2024-03-10T00:00", "2024-03-11T00:00"]],
    // Clocks are put forward on that day.
    ["America/New_York", ["2024-03-10T05:00", "2024-03-11T04:00"]],
    // Bars of an hour begin at half past.
    ["Asia/Kolkata", ["2024-03-09T19:00", "2024-03-10T19:00"]],
  ])("in %s", (zone, begins) => {
    const axis = axisOf(zone);
    const points = hours(axis, "2024-03-09T10:00:00Z", 48);
    axis.fillWeightsForPoints(points, 0);
    expect(days(points)).toEqual(begins);
  });

  test("also of times that come later, and the times stay what they were", () => {
    const axis = axisOf("America/New_York");
    const [whole, grown] = [0, 1].map(() => hours(axis, "2024-11-02T10:00:00Z", 60));
    axis.fillWeightsForPoints(whole!, 0);
    axis.fillWeightsForPoints(grown!.slice(0, 20), 0);
    for (let start = 20; start < 60; start += 1) axis.fillWeightsForPoints(grown!.slice(0, start + 1), start);
    expect(grown).toEqual(whole);
    expect(days(grown!)).toEqual(["2024-11-03T04:00", "2024-11-04T05:00"]);
  });
});
