import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type Opened, PHONE, given } from "./opened";
import { CHART, on, useBrowser } from "./scenario";

useBrowser();

/** What the page gives to save when something is done. */
async function saved({ page }: Opened, act: () => Promise<void>): Promise<{ name: string; body: Buffer }> {
  const [download] = await Promise.all([page.waitForEvent("download"), act()]);
  return { name: download.suggestedFilename(), body: readFileSync(await download.path()) };
}

function table(body: Buffer): Record<string, string>[] {
  const [names, ...lines] = body
    .toString()
    .trimEnd()
    .split("\r\n")
    .map((line) => line.split(","));
  return lines.map((fields) => Object.fromEntries(names!.map((name, at) => [name, fields[at] ?? ""])));
}

describe("the bars that are seen", () => {
  test("are saved by a key, with what is shown beside them, equal to what the gateway answers", () =>
    on(`${CHART}&compare=sim%2FETHUSDT&scale=percent`, async (opened) => {
      await opened.candles();
      await opened.page.keyboard.press("i");
      for (const name of ["EMA 20", "Bollinger 20, 2"]) await opened.page.getByLabel(name).check();
      await opened.page.keyboard.press("Escape");
      // Closed bars alone: the newest one would be another a moment later.
      for (let press = 0; press < 3; press += 1) await opened.page.keyboard.press("ArrowLeft");
      await expect
        .poll(
          async () => {
            const rows = table((await saved(opened, () => opened.page.keyboard.press("e"))).body);
            return rows.every((row) => row["ema_20"] && row["bollinger_upper"] && row["close of sim/ETHUSDT"]);
          },
          { timeout: 30_000, interval: 500 },
        )
        .toBe(true);
      const { name, body } = await saved(opened, () => opened.page.keyboard.press("e"));
      const rows = table(body);
      expect(rows.length).toBeGreaterThan(50);
      expect(name).toBe(`sim-BTCUSDT-1m-${rows[0]!["ts"]!.replaceAll(/[-:]/g, "")}.csv`);
      const asked = new URLSearchParams({
        ...{ venue: "sim", symbol: "BTCUSDT", interval: "1m" },
        ...{ start: rows[0]!["ts"]!, limit: String(rows.length) },
      });
      const answer = await (await fetch(`${given("URL")}/v1/bars?${asked}`)).json();
      const names = ["open", "high", "low", "close", "volume", "trades"];
      const shown = rows.map((row) => [Date.parse(row["ts"]!), ...names.slice(0, 4).map((one) => Number(row[one]))]);
      const stored = answer.rows.map((row: Record<string, never>) => [
        Date.parse(`${String(row["ts"]).slice(0, 19)}Z`),
        ...names.slice(0, 4).map((one) => Number(row[one])),
      ]);
      expect(shown).toEqual(stored);
      expect(rows.map((row) => Number(row["trades"]))).toEqual(
        answer.rows.map((row: { trades: number }) => row.trades),
      );
    }));

  test("are saved by a button, on a phone too", () =>
    on(
      CHART,
      async (opened) => {
        await opened.candles();
        await opened.page.getByText("Save", { exact: true }).click();
        await opened.picture("phone-save");
        const press = () => opened.page.getByRole("button", { name: "Bars seen, as CSV" }).click();
        expect(table((await saved(opened, press)).body).length).toBeGreaterThan(10);
      },
      PHONE,
    ));
});

describe("a picture of the chart", () => {
  test.each(["dark", "light"] as const)("has candles and legend, %s", (colorScheme) =>
    on(
      CHART,
      async (opened) => {
        await opened.candles();
        await opened.page.getByText("Save", { exact: true }).click();
        await opened.picture(`save-${colorScheme}`);
        await opened.page.keyboard.press("Escape");
        const { name, body } = await saved(opened, () => opened.page.keyboard.press("g"));
        expect(name).toMatch(/^sim-BTCUSDT-1m-\d{8}T\d{6}Z\.png$/);
        await opened.keep(`saved-${colorScheme}.png`, body);
        const size = await opened.page.evaluate(async (base64) => {
          const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
          const image = await createImageBitmap(new Blob([bytes]));
          const canvas = document.createElement("canvas");
          canvas.width = image.width;
          canvas.height = image.height;
          const context = canvas.getContext("2d")!;
          context.drawImage(image, 0, 0);
          // The legend is where the chart itself draws nothing but a line of its grid.
          const { data } = context.getImageData(8, 4, 70, 14);
          const colours = new Set<string>();
          for (let at = 0; at < data.length; at += 4) colours.add(data.slice(at, at + 3).join());
          const { width, height } = document.querySelector("[data-chart]")!.getBoundingClientRect();
          return { image: [image.width, image.height], chart: [width, height], colours: colours.size };
        }, body.toString("base64"));
        expect(size.image[0]).toBe(size.chart[0]);
        // The chart's own height is a whole even number of pixels.
        expect(Math.abs(size.image[1]! - size.chart[1]!)).toBeLessThanOrEqual(2);
        expect(size.colours).toBeGreaterThan(10);
      },
      { colorScheme },
    ),
  );
});
