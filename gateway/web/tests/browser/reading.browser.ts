import { describe, expect, test } from "vitest";
import { PHONE } from "./opened";
import { CHART, on, useBrowser } from "./scenario";

useBrowser();

/** Requests wait until it is opened. */
function gate() {
  let open = () => {};
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { open, opened };
}

const BARS = /\/v1\/bars\?.*interval=1m/;

describe("in the chart's place is said", () => {
  test.each([
    ["dark", { colorScheme: "dark" }],
    ["light", { colorScheme: "light" }],
    ["phone", PHONE],
  ] as const)("that bars are being read, until they are there: %s", (name, look) => {
    const { open, opened: answers } = gate();
    return on(
      CHART,
      async (opened) => {
        const notice = opened.page.locator("[data-notice]");
        const chart = opened.page.locator("[data-chart]");
        const reading = notice.getByText("Reading bars");
        await expect.poll(() => reading.evaluate((text) => getComputedStyle(text).opacity)).toBe("1");
        const before = await chart.boundingBox();
        await opened.picture(`reading-${name}`);
        open();
        await opened.candles();
        await expect.poll(() => notice.innerText()).toBe("");
        expect(await chart.boundingBox()).toEqual(before);
      },
      { ...look, prepare: (page) => page.route(BARS, (route) => answers.then(() => route.continue())) },
    );
  });

  test("that older bars are being read, where they will be", () =>
    on(CHART, async (opened) => {
      await opened.candles();
      const { open, opened: answers } = gate();
      await opened.page.route(BARS, (route) => answers.then(() => route.continue()));
      for (let press = 0; press < 30; press += 1) await opened.page.keyboard.press("ArrowLeft");
      const notice = opened.page.locator("[data-notice]");
      await notice.getByText("Reading bars").waitFor();
      await opened.picture("reading-older");
      open();
      await expect.poll(() => notice.innerText(), { timeout: 20_000 }).toBe("");
    }));

  test("that none are stored, of a symbol that has no trades yet", () =>
    on(
      CHART,
      async (opened) => {
        await opened.page.locator("[data-notice]").getByText("No bars of BTCUSDT 1m are stored yet.").waitFor();
        await opened.picture("no-bars");
      },
      {
        prepare: async (page) => {
          await page.routeWebSocket(/\/v1\/live/, () => {});
          const none = JSON.stringify({ rows: [], segments: [], next: null });
          await page.route(BARS, (route) => route.fulfill({ body: none, contentType: "application/json" }));
        },
      },
    ));

  test("why they cannot be read, with the remedy; and a button reads them again", () =>
    on(
      CHART,
      async (opened) => {
        const alert = opened.page.locator("[data-notice]").getByRole("alert");
        await alert.getByText("QuestDB does not answer").waitFor();
        await opened.page.locator("[data-notice]").getByText("See `tapehouse status`.").waitFor();
        await opened.picture("failed");
        await opened.page.unroute(BARS);
        await opened.page.getByRole("button", { name: "Read again" }).click();
        await opened.candles();
        await alert.waitFor({ state: "detached" });
      },
      {
        prepare: async (page) => {
          await page.routeWebSocket(/\/v1\/live/, () => {});
          const body = JSON.stringify({ detail: "QuestDB does not answer", remedy: "See `tapehouse status`." });
          const contentType = "application/problem+json";
          await page.route(BARS, (route) => route.fulfill({ status: 503, body, contentType }));
        },
      },
      /status of 503/,
    ));
});
