import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { BarChange } from "../src/bars/bar";
import { BarSession } from "../src/bars/session";
import type { BarSink, LiveFeed } from "../src/live/feed";

const SERIES = { venue: "sim", symbol: "S", interval: "1m" };
const NOW = Date.UTC(2024, 2, 1, 12, 0, 30);
const OPEN = NOW / 1000 - 30;

/** What the gateway of these tests has stored: a bar a minute, by its start. */
let stored: Map<number, number>;
let asked: URL[];
let sink: BarSink;
let heard: string[];
let reads: boolean[] = [];

const feed: LiveFeed = {
  bars: (_, given) => ((sink = given), () => heard.push("stopped")),
  trades: () => () => {},
  quotes: () => () => {},
  latest: () => () => {},
};

function answer(address: string): Response {
  const url = new URL(address, "http://localhost");
  asked.push(url);
  const [start, end] = ["start", "end"].map((name) =>
    Number(BigInt(url.searchParams.get(name) ?? "0") / 1_000_000_000n),
  );
  let times = [...stored.keys()].sort((one, other) => one - other).filter((at) => at >= start! && (!end || at < end));
  const last = Number(url.searchParams.get("last") ?? 0);
  const limit = Number(url.searchParams.get("limit") ?? 0);
  if (last) times = times.slice(-last);
  if (limit) times = times.slice(0, limit);
  const rows = times.map((at) => ({
    ts: `${new Date(at * 1000).toISOString().slice(0, -1)}000000Z`,
    ...{ open: 1, high: 9, low: 0.5, close: stored.get(at), volume: 2, trades: 3, final: at < OPEN },
  }));
  const day = "2024-03-01T00:00:00Z";
  const segments = [
    { store: "clickhouse", start: "2024-02-01T00:00:00Z", end: day },
    { store: "questdb", start: day, end: "open end" },
  ];
  return new Response(JSON.stringify({ rows, segments, next: null }));
}

function store(from: number, to: number): void {
  for (let time = from; time <= to; time += 60) stored.set(time, 2);
}

async function started(): Promise<BarSession> {
  const session = new BarSession(SERIES, feed, {
    reset: () => heard.push("reset"),
    shifted: (added) => heard.push(`shifted ${added}`),
    changed: (effect, bars) => heard.push(`${effect} ${bars.length}`),
    reading: (busy) => reads.push(busy),
    failed: (reason) => heard.push(`failed: ${reason.message}`),
  });
  await session.start();
  return session;
}

function whole(time: number, close: number): BarChange {
  return { time, fields: { open: 1, high: 9, low: 0.5, close, volume: 2, trades: 3, final: time < OPEN, revision: 0 } };
}

beforeEach(() => {
  stored = new Map();
  asked = [];
  heard = [];
  reads = [];
  vi.useFakeTimers({ now: NOW, toFake: ["Date"] });
  vi.stubGlobal("fetch", (address: string) => Promise.resolve(answer(address)));
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("the newest bars", () => {
  test("are asked for as a span", async () => {
    store(OPEN - 6_000 * 60, OPEN);
    const session = await started();
    expect(session.store.last?.time).toBe(OPEN);
    expect(session.store.bars).toHaveLength(500);
    expect(asked).toHaveLength(1);
    expect(heard).toEqual(["reset"]);
  });

  test("of a symbol that is seldom traded are the last ones, however old", async () => {
    stored.set(OPEN - 90 * 86_400, 2).set(OPEN - 60, 2);
    const session = await started();
    expect(session.store.bars.map((bar) => bar.origin)).toEqual(["clickhouse", "questdb"]);
    await session.older();
    expect(asked.at(-1)!.searchParams.get("last")).toBe("500");
  });

  test("that cannot be read are a failure, and come with the feed's next snapshot", async () => {
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("refused")));
    const session = await started();
    expect(heard).toEqual(["failed: The gateway does not answer."]);
    expect(reads).toEqual([true, false]);
    store(OPEN - 60_000, OPEN);
    vi.stubGlobal("fetch", (address: string) => Promise.resolve(answer(address)));
    sink.snapshot([whole(OPEN, 3)]);
    await vi.waitFor(() => expect(session.store.last?.time).toBe(OPEN));
  });
});

describe("reading", () => {
  test("is said from the request to the answer, and no more once the session has ended", async () => {
    store(OPEN - 600 * 60, OPEN);
    const session = await started();
    expect(reads).toEqual([true, false]);
    const older = session.older();
    session.stop();
    await older;
    expect(reads).toEqual([true, false, true]);
  });

  test("again after a failure gives the bars", async () => {
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("refused")));
    const session = await started();
    store(OPEN - 60_000, OPEN);
    vi.stubGlobal("fetch", (address: string) => Promise.resolve(answer(address)));
    await session.again();
    expect(heard.at(-1)).toBe("reset");
    expect(session.store.last?.time).toBe(OPEN);
  });
});

describe("scrolling back", () => {
  test("loads page after page until there is no more", async () => {
    store(OPEN - 3_000 * 60, OPEN);
    const session = await started();
    await session.older();
    await session.older();
    await session.older();
    await session.older();
    expect(session.store.bars).toHaveLength(3_001);
    expect(session.store.bars.every((bar, index, all) => !index || bar.time === all[index - 1]!.time + 60)).toBe(true);
    expect(heard).toEqual(["reset", "shifted 2000", "shifted 501"]);
    expect(asked).toHaveLength(3);
  });

  test("asks once while an answer is awaited", async () => {
    store(OPEN - 3_000 * 60, OPEN);
    const session = await started();
    await Promise.all([session.older(), session.older(), session.older()]);
    expect(asked).toHaveLength(2);
  });
});

describe("the live end", () => {
  test("goes on from history without a seam", async () => {
    store(OPEN - 600 * 60, OPEN);
    const session = await started();
    sink.snapshot([whole(OPEN - 60, 2), whole(OPEN, 5), whole(OPEN + 60, 6)]);
    sink.changes([{ time: OPEN + 60, fields: { close: 7 } }]);
    expect(session.store.bars.slice(-3).map((bar) => bar.close)).toEqual([2, 5, 7]);
    expect(session.store.bars.filter((bar) => bar.before)).toEqual([]);
  });

  test("after a cut that was longer than the feed's bars is loaded again, without a hole", async () => {
    store(OPEN - 600 * 60, OPEN);
    const session = await started();
    store(OPEN, OPEN + 100 * 60);
    sink.snapshot([whole(OPEN + 100 * 60, 2)]);
    await vi.waitFor(() => expect(session.store.last?.time).toBe(OPEN + 100 * 60));
    expect(session.store.bars.every((bar, index, all) => !index || bar.time === all[index - 1]!.time + 60)).toBe(true);
  });

  test("reads stored bars again that were revised, and marks them", async () => {
    store(OPEN - 600 * 60, OPEN);
    const session = await started();
    stored.set(OPEN - 300 * 60, 4);
    sink.revised(OPEN - 301 * 60, OPEN - 299 * 60);
    await vi.waitFor(() => expect(session.store.bars.filter((bar) => bar.before)).toHaveLength(1));
    expect(heard.at(-1)).toMatch(/^older/);
  });

  test("ends with the session", async () => {
    store(OPEN - 600 * 60, OPEN);
    (await started()).stop();
    expect(heard.at(-1)).toBe("stopped");
  });
});
