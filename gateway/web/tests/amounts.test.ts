import { describe, expect, test } from "vitest";
import { amount, runningTotals, unitsOf } from "../src/account/amounts";
import { tradesOf } from "../src/account/api";

describe("an amount", () => {
  test.each([
    ["0.000000000000000000", "0"],
    ["500000.000000000000000000", "500,000"],
    ["12345678901234567890.123456789012345678", "12,345,678,901,234,567,890.123456789012345678"],
    ["-0.000000000000000001", "\u22120.000000000000000001"],
    ["0.000451157670582720", "0.00045115767058272"],
    ["-99999999999999999999.999999999999999999", "\u221299,999,999,999,999,999,999.999999999999999999"],
  ])("%s is shown as %s", (text, shown) => {
    expect(amount(unitsOf(text))).toBe(shown);
  });

  test("is added up without loss", () => {
    const amounts = ["99999999999999999999.999999999999999999", "0.000000000000000001", "-1"].map(unitsOf);
    expect(runningTotals(amounts).map(amount)).toEqual([
      "99,999,999,999,999,999,999.999999999999999999",
      "100,000,000,000,000,000,000",
      "99,999,999,999,999,999,999",
    ]);
    expect(runningTotals([])).toEqual([]);
  });
});

describe("trades of an account", () => {
  test("keep the last digits of their ids and amounts", () => {
    const csv =
      "ts_event,ts_recv,account_id,id,total_done,trx_amount,amount,trans_type\n" +
      "2024-11-05T22:02:53.000000001Z,2024-11-05T22:02:53.000000001Z,1,9223372036854775806,500000.000000000000000000," +
      "0.000451157670582720,-0.000000000000000001,1\n";
    expect(tradesOf(csv)).toEqual([
      {
        time: Date.parse("2024-11-05T22:02:53Z"),
        id: "9223372036854775806",
        type: 1,
        trxAmount: 451157670582720n,
        amount: -1n,
        totalDone: 500000n * 10n ** 18n,
      },
    ]);
    expect(tradesOf(csv.split("\n")[0]!)).toEqual([]);
  });
});
