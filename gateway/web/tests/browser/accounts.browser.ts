import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DESKTOP, Opened, launch } from "./opened";

let browser: Browser;

beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

test("an account has candles, trades and running totals with all digits, and another can be chosen", async () => {
  const opened = await Opened.at(browser, "/system", DESKTOP);
  const rows = (title: string) => opened.page.locator(`[data-rows="${title}"] tbody tr`);
  const cells = (title: string, row: number) => rows(title).nth(row).locator("td").allInnerTexts();
  await opened.page.getByRole("button", { name: "Accounts" }).click();
  await opened.page.getByLabel("Account id").fill("4711");
  await opened.page.getByLabel("Account id").press("Enter");
  await expect.poll(() => rows("Trades").count()).toBe(3);
  expect(opened.page.url()).toMatch(/\/account\/4711\?interval=30m$/);
  // The newest first.
  expect((await cells("Trades", 0)).slice(1)).toEqual(["9223372036854775806", "1", "3", "5", "0", "6"]);
  expect((await cells("Trades", 1)).at(-1)).toBe("3");
  expect((await cells("Trades", 2)).slice(3, 5)).toEqual(["1", "7.000000000000000001"]);
  await opened.page.getByLabel("Interval").selectOption("1w");
  const week = ["7.000000000000000001", "7.000000000000000001", "5", "5", "6", "3", "6"];
  await expect.poll(async () => (await cells("Candles", 0)).slice(1)).toEqual(week);
  await opened.page.locator("[data-account-chart] canvas").first().waitFor();
  await opened.picture("account");
  await opened.page.getByLabel("Account id").fill("nobody");
  await opened.page.getByLabel("Account id").press("Enter");
  await opened.page.getByRole("alert").filter({ hasText: "account: expected its id" }).waitFor();
  // Chromium itself tells of the refusals.
  expect(opened.wrong.filter((one) => !one.includes("400"))).toEqual([]);
  await opened.close();
});
