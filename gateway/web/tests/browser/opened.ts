/** The page of a platform that runs, in Chromium, with what went wrong in it. */

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Browser, type BrowserContextOptions, type Page, chromium } from "playwright-core";

/** What tests/system/browsed.py passes on. */
export function given(name: string): string {
  const value = process.env[`PAGE_${name}`];
  if (!value) throw new Error(`expected PAGE_${name}: run one of tests/system/page`);
  return value;
}

export const DESKTOP = { viewport: { width: 1440, height: 900 } };
export const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };

export function launch(): Promise<Browser> {
  // Chromium refuses its sandbox to root, as whom containers run.
  return chromium.launch({ executablePath: given("CHROMIUM"), args: ["--no-sandbox"] });
}

export class Opened {
  /** Errors and warnings of the console, exceptions, and requests to elsewhere. */
  readonly wrong: string[] = [];

  private constructor(readonly page: Page) {}

  static async at(
    browser: Browser,
    path: string,
    options: BrowserContextOptions = DESKTOP,
    prepare: (page: Page) => Promise<unknown> = async () => {},
  ): Promise<Opened> {
    const context = await browser.newContext({ reducedMotion: "reduce", ...options });
    const opened = new Opened(await context.newPage());
    opened.watch();
    await prepare(opened.page);
    await opened.page.goto(given("URL") + path);
    return opened;
  }

  /** The text of the legend, such as `BTCUSDT 1m 2024-01-01 00:00 O 1.0 H ...`. */
  legend(): Promise<string> {
    return this.page.locator("[data-legend]").innerText();
  }

  /** Wait until the legend says something. */
  async legendSays(text: string | RegExp): Promise<void> {
    await this.page.locator("[data-legend]").filter({ hasText: text }).waitFor();
  }

  /** Wait until candles are drawn of another series than before. */
  async candles(): Promise<void> {
    await this.page.waitForFunction(() => performance.getEntriesByName("candles").length > 0);
    await this.legendSays(/O\s*[\d.,]+/);
  }

  async picture(name: string): Promise<void> {
    await this.page.screenshot({ path: join(given("PICTURES"), `${name}.png`) });
  }

  /** Keep a file beside the pictures. */
  async keep(name: string, body: Buffer): Promise<void> {
    await writeFile(join(given("PICTURES"), name), body);
  }

  async close(): Promise<void> {
    await this.page.context().close();
  }

  private watch(): void {
    const own = new URL(given("URL")).host;
    this.page.on("console", (said) => {
      if (said.type() === "error" || said.type() === "warning")
        this.wrong.push(`${said.type()}: ${said.text()} ${said.location().url}`);
    });
    this.page.on("pageerror", (error) => this.wrong.push(`exception: ${error.message}`));
    this.page.on("request", (request) => {
      if (new URL(request.url()).host !== own) this.wrong.push(`request to ${request.url()}`);
    });
    this.page.on("websocket", (socket) => {
      if (new URL(socket.url()).host !== own) this.wrong.push(`socket to ${socket.url()}`);
    });
  }
}
