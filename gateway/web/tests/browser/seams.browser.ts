import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { type Opened, PHONE, given } from "./opened";
import { on, useBrowser } from "./scenario";

useBrowser();

const SERIES = () => `/chart/${given("VENUE")}/${given("SYMBOL")}?interval=1m`;
const MINUTE_MS = 60_000;
/** Of the prices at the right of the chart. */
const SCALE_PX = 76;
const LOOKS = [
  ["dark", { colorScheme: "dark" }, 6],
  ["light", { colorScheme: "light" }, 9],
  ["phone", PHONE, 12],
] as const;

/** Bars of a store, by the line below the chart. */
async function barsOf({ page }: Opened, store: string): Promise<number> {
  const text = await page.locator("[data-foot]").innerText();
  return Number(new RegExp(`${store} ([\\d,]+)`).exec(text)?.[1]?.replaceAll(",", ""));
}

async function place({ page }: Opened) {
  const box = await page.locator("[data-chart]").boundingBox();
  return { left: box!.x, top: box!.y, right: box!.x + box!.width - SCALE_PX, height: box!.height };
}

/** Move the crosshair from the newest bar into the past until the legend says something. */
async function hoverUntil(opened: Opened, text: RegExp): Promise<void> {
  const { left, top, right, height } = await place(opened);
  for (let x = right; x > left; x -= 3) {
    await opened.page.mouse.move(x, top + height / 2);
    if (text.test(await opened.legend())) return;
  }
  throw new Error(`expected a bar whose legend has ${text}, the last one was: ${await opened.legend()}`);
}

/** Store a trade of so many minutes ago, as somebody would who got it late. */
async function storeLate(minutesAgo: number): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "late-"));
  try {
    const file = join(folder, "late.csv");
    const at = (Math.floor(Date.now() / MINUTE_MS) - minutesAgo) * MINUTE_MS + 30_000;
    const row = `${new Date(at).toISOString()},${given("SYMBOL")},103.5,2,buy`;
    await writeFile(file, `ts,symbol,price,size,side\n${row}\n`);
    const { stdout } = await promisify(execFile)(given("TAPEHOUSE"), ["ingest", file, "--venue", given("VENUE")]);
    expect(stdout).toContain("1 accepted");
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** How many pixels of the candles' pane, below the legend, have the colour of marks. */
async function marked(opened: Opened): Promise<number> {
  const { left, top, right, height } = await place(opened);
  const clip = { x: left, y: top + 70, width: right - left, height: height * 0.7 - 70 };
  const base64 = (await opened.page.screenshot({ clip })).toString("base64");
  return opened.page.evaluate(async (text) => {
    const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
    const image = await createImageBitmap(new Blob([bytes]));
    const context = Object.assign(document.createElement("canvas"), {
      width: image.width,
      height: image.height,
    }).getContext("2d", { willReadFrequently: true })!;
    const colourAt = (x: number, y: number) => context.getImageData(x, y, 1, 1).data.slice(0, 3).join();
    context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--accent").trim();
    context.fillRect(0, 0, 1, 1);
    const accent = colourAt(0, 0);
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, image.width, image.height);
    let found = 0;
    for (let at = 0; at < data.length; at += 4) if (data.slice(at, at + 3).join() === accent) found += 1;
    return found;
  }, base64);
}

describe("the past", () => {
  test.each(LOOKS)("is scrolled to from QuestDB into ClickHouse, and the line below says so: %s", (name, look) =>
    on(
      SERIES(),
      async (opened) => {
        await opened.candles();
        await expect.poll(() => barsOf(opened, "QuestDB")).toBeGreaterThan(0);
        expect(await barsOf(opened, "ClickHouse")).toBe(0);
        const { left, top, height } = await place(opened);
        await expect
          .poll(
            async () => {
              await opened.page.keyboard.press("ArrowLeft");
              await opened.page.mouse.move(left + 60, top + height / 2);
              return opened.legend();
            },
            { timeout: 60_000, interval: 100 },
          )
          .toMatch(/ClickHouse$/);
        expect(await barsOf(opened, "ClickHouse")).toBe(Number(given("COLD")));
        expect(await barsOf(opened, "QuestDB")).toBeGreaterThan(0);
        await opened.picture(`cold-${name}`);
      },
      look,
    ),
  );
});

describe("a bar that a late trade changes after it was final", () => {
  test.each(LOOKS)("is marked, and the legend says what changed: %s", (name, look, minutesAgo) =>
    on(
      SERIES(),
      async (opened) => {
        await opened.candles();
        await opened.page.locator('[data-status="live"]').waitFor();
        expect(await marked(opened)).toBe(0);
        await storeLate(minutesAgo);
        await opened.page.locator("[data-foot]").getByText("1 revised").waitFor();
        await expect.poll(() => marked(opened)).toBeGreaterThan(10);
        await hoverUntil(opened, /revised: .*high [\d.]+ \u2192 103\.50.*trades 1 \u2192 2/s);
        await opened.picture(`revised-${name}`);
      },
      look,
    ),
  );
});
