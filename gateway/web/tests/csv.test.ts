import { describe, expect, test } from "vitest";
import type { Bar } from "../src/bars/bar";
import { csvOf, fileName } from "../src/export/csv";

const START = Date.UTC(2024, 2, 10, 7) / 1000;

function bar(time: number, close: number): Bar {
  const values = { open: 0.1 + 0.2, high: 1e21, low: 1e-8, close, volume: 123456.789, trades: 3 };
  return { time, ...values, final: true, revision: 0, origin: "clickhouse" };
}

describe("bars as CSV", () => {
  test("have their start in UTC and numbers that are read again as the same", () => {
    const [names, line, end] = csvOf([bar(START, 0.30000000000000004)], []).split("\r\n");
    expect(names).toBe("ts,open,high,low,close,volume,trades,final,store");
    expect(line).toBe(
      "2024-03-10T07:00:00Z,0.30000000000000004,1e+21,1e-8,0.30000000000000004,123456.789,3,true,clickhouse",
    );
    expect(line!.split(",").slice(1, 7).map(Number)).toEqual([0.1 + 0.2, 1e21, 1e-8, 0.1 + 0.2, 123456.789, 3]);
    expect(end).toBe("");
  });

  test("have other columns beside them, empty where a bar has no number", () => {
    const values = new Map([[START, 2.5]]);
    const columns = [
      { name: 'close of v/A,"B"', at: (time: number) => values.get(time) },
      { name: "ema_20", at: () => NaN },
    ];
    const lines = csvOf([bar(START, 1), bar(START + 60, 1)], columns).split("\r\n");
    expect(lines[0]).toMatch(/,store,"close of v\/A,""B""",ema_20$/);
    expect(lines[1]).toMatch(/,2.5,$/);
    expect(lines[2]).toMatch(/,clickhouse,,$/);
  });

  test("without bars are the names alone", () => {
    expect(csvOf([], [])).toBe("ts,open,high,low,close,volume,trades,final,store\r\n");
  });
});

test("a file is named by its series and time, without what files must not have", () => {
  expect(fileName(["sim", "BTC/USDT:x", "1m"], START, "csv")).toBe("sim-BTC_USDT_x-1m-20240310T070000Z.csv");
  expect(fileName(["..", "../a", "1m"], START, "png")).toBe("..-.._a-1m-20240310T070000Z.png");
});
