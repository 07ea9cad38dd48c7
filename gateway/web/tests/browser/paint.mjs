// For bench/paint.py: opens an address in Chromium, and prints a JSON line for each price that was painted, at last the
// frames a second. Ends when its standard input does.
import { chromium } from "playwright-core";

const [, , executablePath, url, watched] = process.argv;
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });

/** Frames a second of a page in some seconds. */
function frameRate(page, seconds) {
  return page.evaluate(
    (ms) =>
      new Promise((done) => {
        let frames = 0;
        const began = performance.now();
        const next = (now) => {
          if (now - began >= ms) done((1000 * frames) / (now - began));
          else (frames++, requestAnimationFrame(next));
        };
        requestAnimationFrame(next);
      }),
    1000 * seconds,
  );
}

const blank = await browser.newPage({ viewport: { width: 1440, height: 900 } });
console.log(JSON.stringify({ blank: await frameRate(blank, 3) }));
await blank.close();
const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
await page.exposeFunction("painted", (title, ms) => console.log(JSON.stringify({ title, ms })));
await page.addInitScript((list) => localStorage.setItem("tapehouse.watched", list), watched);
await page.goto(url);
await page.waitForFunction(() => performance.getEntriesByName("candles").length > 0);
await page.locator('[data-status="live"]').waitFor();
await page.evaluate(() => {
  // The title changes with the candle; the frame with both is painted after the callbacks of the next one.
  new MutationObserver(() => {
    const title = document.title;
    requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => void window.painted(title, performance.timeOrigin + performance.now());
      channel.port2.postMessage(null);
    });
  }).observe(document.querySelector("title"), { childList: true, characterData: true, subtree: true });
});
console.log(JSON.stringify({ ready: true }));
const rates = [];
process.stdin.resume();
const ended = new Promise((done) => process.stdin.on("end", done));
while ((await Promise.race([ended.then(() => null), frameRate(page, 5).then((rate) => rates.push(rate))])) !== null);
console.log(JSON.stringify({ rates }));
await browser.close();
