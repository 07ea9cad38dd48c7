import { describe, expect, test } from "vitest";
import { type Opened, PHONE } from "./opened";
import { CHART, on, useBrowser } from "./scenario";

useBrowser();

const NEW_YORK = "America/New_York";
const LOOKS = [
  ["dark", { colorScheme: "dark" }],
  ["light", { colorScheme: "light" }],
  ["phone", PHONE],
] as const;

/** The start of the bar that the legend tells, such as 2024-01-01 or 2024-01-01 09:30. */
async function shown(opened: Opened): Promise<string> {
  return /\d{4}-\d\d-\d\d( \d\d:\d\d)?/.exec(await opened.legend())?.[0] ?? "";
}

/** What clocks of a zone show now and a minute ago: the newest bar may be of either. */
function nowIn(timeZone: string): string[] {
  const format = new Intl.DateTimeFormat("sv", { timeZone, dateStyle: "short", timeStyle: "short" });
  return [0, 60_000, 120_000].map((ago) => format.format(Date.now() - ago));
}

async function choose({ page }: Opened, text: string): Promise<void> {
  await page.keyboard.press("u");
  await page.getByLabel("Time zone").fill(text);
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor({ state: "detached" });
}

describe("times are those of", () => {
  test.each(LOOKS)("the zone in the address: %s", (name, look) =>
    on(
      `${CHART}&zone=${encodeURIComponent(NEW_YORK)}`,
      async (opened) => {
        await opened.candles();
        await opened.page.locator("[data-zone]").filter({ hasText: "New York" }).waitFor();
        expect(nowIn(NEW_YORK)).toContain(await shown(opened));
        await opened.picture(`zone-${name}`);
        await opened.page.keyboard.press("u");
        await opened.page.getByLabel("Time zone").fill("europe");
        await opened.page.locator("[data-zones]").getByText("Europe/Berlin").waitFor();
        await opened.picture(`zones-${name}`);
      },
      look,
    ),
  );

  test("UTC where none is chosen", () =>
    on(
      CHART,
      async (opened) => {
        await opened.candles();
        expect(nowIn("UTC")).toContain(await shown(opened));
        expect(opened.page.url()).not.toContain("zone");
      },
      { timezoneId: "Asia/Tokyo" },
    ));

  test("the zone that is chosen by its name, at once, in the address and when the page is opened again", () =>
    on(CHART, async (opened) => {
      await opened.candles();
      await choose(opened, "kolk");
      await expect.poll(async () => nowIn("Asia/Kolkata").includes(await shown(opened))).toBe(true);
      expect(opened.page.url()).toMatch(/zone=Asia%2F(Kolkata|Calcutta)/);
      await opened.page.goto(opened.page.url().replace(/&zone=.*/, ""));
      await opened.candles();
      expect(nowIn("Asia/Kolkata")).toContain(await shown(opened));
      expect(opened.page.url()).toMatch(/zone=Asia%2F(Kolkata|Calcutta)/);
      await choose(opened, "utc");
      await expect.poll(async () => nowIn("UTC").includes(await shown(opened))).toBe(true);
      expect(opened.page.url()).toContain("zone=utc");
    }));

  test("this device, where local is chosen", () =>
    on(
      CHART,
      async (opened) => {
        await opened.candles();
        await choose(opened, "local");
        await expect.poll(async () => nowIn("Asia/Tokyo").includes(await shown(opened))).toBe(true);
        await opened.page.locator("[data-zone]").filter({ hasText: "Local" }).waitFor();
      },
      { timezoneId: "Asia/Tokyo" },
    ));

  test("UTC for bars of a day, west of it too: they begin at its midnight", () =>
    on(
      "/chart/sim/BTCUSDT?interval=1d&zone=local",
      async (opened) => {
        await opened.candles();
        const today = () => new Date().toISOString().slice(0, 10);
        await expect.poll(async () => (await shown(opened)) === today()).toBe(true);
        await opened.picture("days-west");
        await opened.page.keyboard.press(",");
        await opened.legendSays(/BTCUSDT\s*4h\s*\d{4}/);
        const start = Math.floor(Date.now() / 14_400_000) * 14_400_000;
        const format = new Intl.DateTimeFormat("sv", {
          ...{ timeZone: "America/Los_Angeles", dateStyle: "short", timeStyle: "short" },
        } as const);
        await expect.poll(() => shown(opened)).toBe(format.format(start));
      },
      { timezoneId: "America/Los_Angeles" },
    ));
});

describe("the days on the axis", () => {
  test("follow the zone, with indicators too, and what is seen stays where it is", () =>
    on("/chart/sim/BTCUSDT?interval=15m", async (opened) => {
      await opened.candles();
      const read = opened.page.waitForResponse((answer) => answer.url().includes("/v1/features"));
      await opened.page.keyboard.press("i");
      for (const name of ["EMA 20", "RSI 14"]) await opened.page.getByLabel(name).check();
      await opened.page.keyboard.press("Escape");
      await read;
      const newest = await shown(opened);
      await opened.page.mouse.move(800, 400);
      await expect.poll(() => shown(opened)).not.toBe(newest);
      const before = Date.parse(`${(await shown(opened)).replace(" ", "T")}Z`);
      await opened.picture("axis-utc");
      await choose(opened, "tokyo");
      await opened.page.mouse.move(801, 400);
      const format = new Intl.DateTimeFormat("sv", { timeZone: "Asia/Tokyo", dateStyle: "short", timeStyle: "short" });
      await expect.poll(() => shown(opened)).toBe(format.format(before));
      await opened.picture("axis-tokyo");
    }));
});

test("a zone that there is not is said to be none", () =>
  on(CHART, async (opened) => {
    await opened.candles();
    await opened.page.keyboard.press("u");
    await opened.page.getByLabel("Time zone").fill("olympus mons");
    await opened.page.getByRole("status").getByText("No time zone has that in its name").waitFor();
    await opened.page.keyboard.press("Enter");
    await opened.page.keyboard.press("Escape");
    await opened.page.getByRole("dialog").waitFor({ state: "detached" });
    expect(opened.page.url()).not.toContain("zone");
  }));
