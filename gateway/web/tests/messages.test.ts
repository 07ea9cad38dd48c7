import { describe, expect, test } from "vitest";
import { type Channel, type Message, MessageError, MessageReader, unscaled } from "../src/live/messages";
import { type Packable, pack } from "./pack";

const CHANNELS: Record<number, Channel> = {
  1: "bars",
  2: "trades",
  3: "quotes",
  4: "latest",
  5: "rankings",
  6: "gaps",
};
const EPOCH = 1_796_074_160_147_193_235n;
const NS = 1_795_987_598_311_305_438n;
const MS = 1_795_987_598_311.3054;

/** The last message of those that a new reader is sent, one after the other. */
function read(...messages: Packable[][]): Message {
  const reader = new MessageReader((id) => CHANNELS[id]);
  return messages.map((message) => reader.read(pack(message))).at(-1)!;
}

/** What subscribes to a channel by its id, with topic 70 + id and one decimal. */
function subscribed(id: number, rows: Packable = null, decimals = 1): Packable[] {
  return [0, id, 70 + id, EPOCH, 5, false, decimals, rows];
}

function rowsOf(message: Message) {
  if (message.type !== "rows" && message.type !== "subscribed") throw new Error(message.type);
  return message.rows;
}

describe("0 SUBSCRIBED", () => {
  test("says the topic, the version and whether it goes on", () => {
    const message = read([0, 1, 71, EPOCH, 5, true, 2, []]);
    expect(message).toEqual({
      type: "subscribed",
      id: 1,
      topic: 71,
      version: [EPOCH, 5],
      resumed: true,
      rows: { channel: "bars", bars: [] },
    });
  });

  test.each<[number, object]>([
    [2, { channel: "trades", trades: [] }],
    [3, { channel: "quotes", quote: null }],
    [4, { channel: "latest", latest: null }],
    [5, { channel: "rankings", ranked: [] }],
    [6, { channel: "gaps", gaps: [] }],
  ])("of subscription %i may have no rows yet", (id, rows) => {
    expect(rowsOf(read(subscribed(id)))).toEqual(rows);
  });

  test("has of trades and quotes the items after n", () => {
    const trades = rowsOf(read(subscribed(2, [NS, 7, [[0, 0, 15, 25, 1, 0]]])));
    expect(trades).toEqual({
      channel: "trades",
      trades: [{ time: expect.closeTo(MS, 3), seq: "7", price: 1.5, size: 2.5, side: 1 }],
    });
    expect(rowsOf(read(subscribed(3, [NS, 7, 15, 10, 17, 20])))).toMatchObject({ quote: { bid: 1.5, ask: 1.7 } });
  });

  test("for an id that nobody subscribed is an error", () => {
    expect(() => read(subscribed(99))).toThrow(MessageError);
  });
});

describe("1 BARS", () => {
  const WHOLE = [1_700_000_040, 0b1111_1111, 573_013, 0.5, 32, 573_429, 572_935, 573_000, true, 3];

  test("have the fields of their mask in order", () => {
    const rows = rowsOf(
      read(subscribed(1), [
        1,
        71,
        6,
        [WHOLE, [1_700_000_100, 0b0000_0001, 573_014], [1_700_000_160, 0b0100_0110, 1.5, 9, false]],
      ]),
    );
    expect(rows).toEqual({
      channel: "bars",
      bars: [
        {
          time: 1_700_000_040,
          fields: {
            close: 57_301.3,
            volume: 0.5,
            trades: 32,
            high: 57_342.9,
            low: 57_293.5,
            open: 57_300,
            final: true,
            revision: 3,
          },
        },
        { time: 1_700_000_100, fields: { close: 57_301.4 } },
        { time: 1_700_000_160, fields: { volume: 1.5, trades: 9, final: false } },
      ],
    });
  });

  test.each(
    ["close", "volume", "trades", "high", "low", "open", "final", "revision"].map((name, bit) => [name, bit] as const),
  )("with the one field %s by its bit", (name, bit) => {
    const rows = rowsOf(read(subscribed(1, [], 0), [1, 71, 6, [[60, 1 << bit, name === "final" ? true : 4]]]));
    expect(rows).toEqual({ channel: "bars", bars: [{ time: 60, fields: { [name]: name === "final" ? true : 4 } }] });
  });

  test("with mask 0 are no more", () => {
    expect(rowsOf(read(subscribed(1), [1, 71, 6, [[60, 0]]]))).toEqual({
      channel: "bars",
      bars: [{ time: 60, fields: null }],
    });
  });

  test("of a subscription with all fields leave the others alone", () => {
    const rows = rowsOf(read(subscribed(1), [1, 71, 6, [[60, 0b1111_0000_0001, 15, 1.5, 0.5, 1, 2]]]));
    expect(rows).toEqual({ channel: "bars", bars: [{ time: 60, fields: { close: 1.5 } }] });
  });
});

test("2 TRADES have times and numbers from a base", () => {
  const rows = [
    [0, 0, 15, 25, 1, 0],
    [1_000_000, 2, 0.123456789, "3.0", -1, 4],
    [2_000_000, 3, 16, 1, 0, 0],
  ];
  expect(read(subscribed(2), [2, 72, 6, NS, 2n ** 60n, rows])).toEqual({
    type: "rows",
    topic: 72,
    n: 6,
    rows: {
      channel: "trades",
      trades: [
        { time: expect.closeTo(MS, 3), seq: "1152921504606846976", price: 1.5, size: 2.5, side: 1 },
        { time: expect.closeTo(MS + 1, 3), seq: "1152921504606846978", price: 0.123456789, size: 3, side: -1 },
        { time: expect.closeTo(MS + 2, 3), seq: "1152921504606846979", price: 1.6, size: 0.1, side: 0 },
      ],
    },
  });
});

test("3 QUOTES", () => {
  expect(rowsOf(read(subscribed(3), [3, 73, 6, NS, 9, 15, 10, 17, 20]))).toEqual({
    channel: "quotes",
    quote: { time: expect.closeTo(MS, 3), bid: 1.5, bidSize: 1, ask: 1.7, askSize: 2 },
  });
});

test("4 LATEST", () => {
  expect(rowsOf(read(subscribed(4), [4, 74, 6, NS, 9, 15, 10]))).toEqual({
    channel: "latest",
    latest: { time: expect.closeTo(MS, 3), price: 1.5 },
  });
});

test("5 RANKINGS", () => {
  expect(rowsOf(read(subscribed(5), [5, 75, 6, [["sim", "A", 0.5, 0.25, 3]]]))).toEqual({
    channel: "rankings",
    ranked: [{ venue: "sim", symbol: "A", change: 0.5, volatility: 0.25, turnover: 3 }],
  });
});

test("6 GAPS", () => {
  const rows = [
    ["trades", "sim", "A", NS, NS + 1_000_000n, 5, 9, 5, false, "cut"],
    ["quotes", "sim", "A", NS, NS, 5, null, null, true, null],
  ];
  expect(rowsOf(read(subscribed(6), [6, 76, 6, rows]))).toEqual({
    channel: "gaps",
    gaps: [
      {
        kind: "trades",
        venue: "sim",
        symbol: "A",
        start: expect.closeTo(MS, 3),
        end: expect.closeTo(MS + 1, 3),
        missing: 5,
        closed: false,
        reason: "cut",
      },
      {
        kind: "quotes",
        venue: "sim",
        symbol: "A",
        start: expect.closeTo(MS, 3),
        end: expect.closeTo(MS, 3),
        missing: null,
        closed: true,
        reason: "",
      },
    ],
  });
});

describe("a message without rows", () => {
  test.each<[string, Packable[], Message]>([
    [
      "7 REVISED",
      [7, 71, 1_700_000_040_000_000_000n, 1_700_000_100_000_000_000n],
      { type: "revised", topic: 71, start: 1_700_000_040, end: 1_700_000_100 },
    ],
    ["8 SKIPPED", [8, 72, 5, 9, 4], { type: "skipped", topic: 72, count: 4 }],
    ["9 ERROR", [9, 1, "t", "d", "r"], { type: "error", id: 1, title: "t", detail: "d", remedy: "r" }],
    [
      "9 ERROR of no subscription",
      [9, null, "t", "d", ""],
      { type: "error", id: null, title: "t", detail: "d", remedy: "" },
    ],
    ["10 HEARTBEAT", [10, NS, 12], { type: "heartbeat", lag: 12 }],
    ["10 HEARTBEAT without a frame", [10, NS, null], { type: "heartbeat", lag: null }],
    ["11 PONG", [11, 17], { type: "pong", sent: 17 }],
    ["12 SLOW", [12, 300], { type: "slow", ms: 300 }],
    ["13 UNSUBSCRIBED", [13, 4], { type: "unsubscribed", id: 4 }],
  ])("%s", (_, items, message) => {
    expect(read(items)).toEqual(message);
  });
});

test.each<[string, Packable]>([
  ["a type of a later version", [14, 1]],
  ["no array", { type: "bars" }],
  ["an empty array", []],
  ["rows of a topic that nobody subscribed", [1, 99, 1, []]],
])("%s is no message", (_, document) => {
  const reader = new MessageReader((id) => CHANNELS[id]);
  expect(() => reader.read(pack(document))).toThrow(MessageError);
});

test("rows of a topic of another channel are no message", () => {
  expect(() => read(subscribed(2), [1, 72, 1, []])).toThrow(MessageError);
});

test.each<[number | string, number, number]>([
  [573_013, 1, 57_301.3],
  [5, 0, 5],
  [-15, 1, -1.5],
  [0.1234567891, 8, 0.1234567891],
  ["5.0", 8, 5],
  ["1e+22", 2, 1e22],
])("the price %s with %i decimals is %s", (sent, decimals, value) => {
  expect(unscaled(sent, decimals)).toBe(value);
});
