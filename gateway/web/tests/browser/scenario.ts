/** What the scenarios of every topic share: one browser, and a page in which nothing may go wrong. */

import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, beforeAll, expect } from "vitest";
import { DESKTOP, Opened, launch } from "./opened";

export const CHART = "/chart/sim/BTCUSDT?interval=1m";

let browser: Browser;

/** Start a browser before the scenarios of a file, and end it after them. */
export function useBrowser(): void {
  beforeAll(async () => {
    browser = await launch();
  });
  afterAll(() => browser.close());
}

export interface Opening extends BrowserContextOptions {
  /** What is done with the page before it is opened. */
  readonly prepare?: (page: Page) => Promise<unknown>;
}

/** Open an address, do something with the page, and expect that nothing went wrong in it, besides what `may`. */
export async function on(
  path: string,
  work: (opened: Opened) => Promise<void>,
  { prepare, ...options }: Opening = {},
  may?: RegExp,
): Promise<void> {
  const opened = await Opened.at(browser, path, { ...DESKTOP, ...options }, prepare);
  try {
    await work(opened);
    expect(opened.wrong.filter((text) => !may?.test(text))).toEqual([]);
  } finally {
    await opened.close();
  }
}
