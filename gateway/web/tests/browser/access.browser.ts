import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { AxeResults } from "axe-core";
import { describe, expect, test } from "vitest";
import { type Opened, PHONE } from "./opened";
import { CHART, on, useBrowser } from "./scenario";

useBrowser();

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What a page has that keeps people from using it, by rule. */
async function barriers({ page }: Opened): Promise<string[]> {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate<AxeResults>("axe.run(document, { resultTypes: ['violations'] })");
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html} ${node.failureSummary}`));
}

const LOOKS = [
  ["dark", { colorScheme: "dark" }],
  ["light", { colorScheme: "light" }],
  ["dark on a phone", { ...PHONE, colorScheme: "dark" }],
  ["light on a phone", { ...PHONE, colorScheme: "light" }],
] as const;

describe.each(LOOKS)("nothing serious keeps people from using, %s,", (_, look) => {
  test("the chart, its panels and its menus", () =>
    on(
      CHART,
      async (opened) => {
        await opened.candles();
        expect(await barriers(opened)).toEqual([]);
        for (const [key, shown] of [
          ["v", "[data-watch] li"],
          ["b", "[data-book]"],
          ["x", "[data-trades] > div"],
          ["r", "[data-rankings] li"],
        ] as const) {
          await opened.page.keyboard.press(key);
          await opened.page.locator(shown).first().waitFor();
          expect(await barriers(opened)).toEqual([]);
        }
        await opened.page.keyboard.press("Escape");
        await opened.page.keyboard.press("i");
        expect(await barriers(opened)).toEqual([]);
        await opened.page.keyboard.press("Escape");
        for (const key of ["/", "u", "?"]) {
          await opened.page.keyboard.press(key);
          await opened.page.getByRole("dialog").waitFor();
          expect(await barriers(opened)).toEqual([]);
          await opened.page.keyboard.press("Escape");
        }
      },
      look,
    ));

  test("the page of the system", () =>
    on(
      "/system",
      async (opened) => {
        await opened.page.locator("[data-catalog]").getByText("BTCUSDT").first().waitFor();
        await opened.page.locator("[data-parts] tbody tr").first().waitFor();
        await opened.page.locator("[data-quarantine]").getByText("rows in quarantine").waitFor();
        expect(await barriers(opened)).toEqual([]);
      },
      look,
    ));
});
