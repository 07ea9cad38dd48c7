import { describe, expect, test } from "vitest";
import { dateTime } from "../src/format";
import { HERE, NAMED, offsetOf, offsetText, partsOf, zoneLabel, zoneNamed, zonesLike } from "../src/zones";

const HOUR_MS = 3_600_000;
const at = (text: string) => Date.parse(text);

describe("the clock of a zone", () => {
  test.each([
    // Where clocks are put forward and back, the moments before and after.
    ["America/New_York", "2024-03-10T06:59:59Z", "2024-03-10 01:59:59"],
    ["America/New_York", "2024-03-10T07:00:00Z", "2024-03-10 03:00:00"],
    ["America/New_York", "2024-11-03T05:59:59Z", "2024-11-03 01:59:59"],
    ["America/New_York", "2024-11-03T06:00:00Z", "2024-11-03 01:00:00"],
    ["Europe/London", "2024-03-31T00:59:59Z", "2024-03-31 00:59:59"],
    ["Europe/London", "2024-03-31T01:00:00Z", "2024-03-31 02:00:00"],
    ["Australia/Lord_Howe", "2024-04-06T14:59:59Z", "2024-04-07 01:59:59"],
    ["Australia/Lord_Howe", "2024-04-06T15:00:00Z", "2024-04-07 01:30:00"],
    ["Asia/Kolkata", "2024-06-30T18:30:00Z", "2024-07-01 00:00:00"],
    ["Asia/Kathmandu", "2024-01-01T00:00:00Z", "2024-01-01 05:45:00"],
    ["America/New_York", "2024-01-01T04:59:59Z", "2023-12-31 23:59:59"],
    // A day was left out.
    ["Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29 23:59:59"],
    ["Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-31 00:00:00"],
    ["utc", "2024-02-29T23:59:59Z", "2024-02-29 23:59:59"],
  ])("in %s at %s shows %s", (zone, moment, shown) => {
    expect(dateTime(at(moment), zone, "second")).toBe(shown);
  });

  test.each(["America/New_York", "Europe/Berlin", "Africa/Casablanca", "Asia/Tokyo", "Australia/Lord_Howe"])(
    "in %s is that of Intl through a year",
    (zone) => {
      const format = new Intl.DateTimeFormat("sv", { timeZone: zone, dateStyle: "short", timeStyle: "medium" });
      for (let ms = at("2024-01-01T00:30:00Z"); ms < at("2025-01-01"); ms += 7 * HOUR_MS)
        expect(dateTime(ms, zone, "second")).toBe(format.format(ms));
    },
  );

  test("that is local is this device's", () => {
    const moment = at("2024-07-01T12:34:56Z");
    expect(partsOf(moment, "local")).toEqual(partsOf(moment, HERE));
    expect(partsOf(moment, "local").hour).toBe(new Date(moment).getHours());
  });
});

describe("a zone", () => {
  test.each([
    ["UTC", "utc"],
    ["Local", "local"],
    ["america/new_york", "America/New_York"],
    ["Etc/GMT+5", "Etc/GMT+5"],
    ["", ""],
    ["Mars/Olympus", ""],
    ["<b>", ""],
  ])("written %s is %s", (text, zone) => {
    expect(zoneNamed(text)).toBe(zone);
  });

  test.each([
    ["America/New_York", "UTC\u22125"],
    ["Asia/Kolkata", "UTC+5:30"],
    ["Europe/London", "UTC"],
  ])("%s is in winter %s", (zone, text) => {
    expect(offsetText(at("2024-01-01T00:00:00Z"), zone)).toBe(text);
  });

  test("in short is its place", () => {
    expect(["utc", "local", "America/Argentina/Buenos_Aires"].map(zoneLabel)).toEqual(["UTC", "Local", "Buenos Aires"]);
  });

  test.each([
    ["", "utc"],
    ["new york", "America/New_York"],
    ["York", "America/New_York"],
    ["europe lon", "Europe/London"],
    ["utc+12:45", "Pacific/Chatham"],
    ["utc-9:30", "Pacific/Marquesas"],
    ["loc", "local"],
  ])("is found first by %s when it is winter in the south: %s", (text, first) => {
    expect(zonesLike(text, at("2024-07-01T00:00:00Z"))[0]).toBe(first);
  });

  test("that nobody knows is not found", () => {
    expect(zonesLike("olympus mons", 0)).toEqual([]);
  });

  test("has an offset of less than a day, all of them", () => {
    const moment = at("2024-07-01T12:00:00Z");
    expect(NAMED.length).toBeGreaterThan(300);
    for (const zone of NAMED) expect(Math.abs(offsetOf(moment, zone))).toBeLessThan(24 * HOUR_MS);
  });
});
