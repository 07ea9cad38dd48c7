import { describe, expect, test } from "vitest";
import { PHONE, given } from "./opened";
import { on, useBrowser } from "./scenario";

useBrowser();

const LOOKS = [
  ["dark", { colorScheme: "dark" }],
  ["light", { colorScheme: "light" }],
  ["phone", PHONE],
] as const;

describe("the system page says what is in quarantine", () => {
  test.each(LOOKS)("by reason, and the newest rows as text alone: %s", (name, look) =>
    on(
      "/system",
      async (opened) => {
        const section = opened.page.locator("[data-quarantine]");
        await section.getByText("rows in quarantine").waitFor();
        const reasons = section.locator("[data-reasons] li");
        await reasons
          .filter({ hasText: given("REASON") })
          .filter({ hasText: given("ROWS") })
          .waitFor();
        const newest = section.locator("[data-newest]");
        await newest.locator("summary").click();
        await newest.getByText(given("MARKUP")).first().waitFor();
        expect(await section.locator("img, script, b").count()).toBe(0);
        const wider = await opened.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        expect(wider).toBe(0);
        await section.scrollIntoViewIfNeeded();
        await opened.picture(`quarantine-${name}`);
      },
      look,
    ),
  );
});
