import { describe, expect, test } from "vitest";
import type { Bar, BarChange } from "../src/bars/bar";
import { BarStore } from "../src/bars/store";

function bar(time: number, more: Partial<Bar> = {}): Bar {
  return {
    time,
    open: 1,
    high: 3,
    low: 0.5,
    close: 2,
    volume: 10,
    trades: 4,
    final: true,
    revision: 0,
    origin: "questdb",
    ...more,
  };
}

function change(time: number, fields: BarChange["fields"]): BarChange {
  return { time, fields };
}

function whole(time: number, more: Partial<Bar> = {}): BarChange {
  const { time: _, origin: __, before: ___, ...fields } = bar(time, more);
  return { time, fields };
}

function store(...times: number[]): BarStore {
  const made = new BarStore();
  made.reset(times.map((time) => bar(time)));
  return made;
}

const times = (of: BarStore) => of.bars.map((one) => one.time);

describe("history", () => {
  test("is put before what is there, in order and each time once", () => {
    const bars = store(30, 40);
    expect(bars.addOlder([bar(20), bar(10), bar(20), bar(30, { close: 9 })])).toBe(2);
    expect(times(bars)).toEqual([10, 20, 30, 40]);
    expect(bars.bars[2]!.close).toBe(2);
  });

  test("beyond the bound displaces the newest bars, and later the oldest", () => {
    const bars = new BarStore(3);
    bars.reset([bar(30), bar(40)]);
    bars.addOlder([bar(10), bar(20)]);
    expect(times(bars)).toEqual([10, 20, 30]);
    expect(bars.reachesEnd).toBe(false);
    expect(bars.addNewer([bar(40), bar(50)], true)).toBe(2);
    expect(times(bars)).toEqual([30, 40, 50]);
    expect(bars.reachesEnd).toBe(true);
  });

  test("without its newest bars takes no live bar after a hole", () => {
    const bars = new BarStore(2);
    bars.reset([bar(30), bar(40)]);
    bars.addOlder([bar(20)]);
    expect(bars.apply([whole(50)])).toBe("none");
    expect(times(bars)).toEqual([20, 30]);
  });

  test("finds the bar at or before a time", () => {
    const bars = store(10, 20, 30);
    expect([5, 10, 19, 30, 99].map((time) => bars.indexAt(time))).toEqual([-1, 0, 0, 2, 2]);
  });
});

describe("a live change", () => {
  test("of some fields leaves the others as they were", () => {
    const bars = new BarStore();
    bars.reset([bar(10, { final: false })]);
    expect(bars.apply([change(10, { close: 2.5, volume: 11 })])).toBe("last");
    expect(bars.last).toEqual(bar(10, { final: false, close: 2.5, volume: 11, origin: "live" }));
  });

  test("adds a whole new bar, and not one that lacks fields", () => {
    const bars = store(10);
    expect(bars.apply([change(20, { close: 2 })])).toBe("none");
    expect(bars.apply([whole(20, { final: false })])).toBe("last");
    expect(times(bars)).toEqual([10, 20]);
    expect(bars.last!.origin).toBe("live");
  });

  test("puts a late bar between others, and none before the window", () => {
    const bars = store(10, 30);
    expect(bars.apply([whole(20), whole(5)])).toBe("rebuilt");
    expect(times(bars)).toEqual([10, 20, 30]);
  });

  test("takes a bar away", () => {
    const bars = store(10, 20, 30);
    expect(bars.apply([change(20, null), change(25, null)])).toBe("rebuilt");
    expect(times(bars)).toEqual([10, 30]);
  });

  test("with the same values changes nothing that is drawn, but who it came from", () => {
    const bars = store(10, 20);
    expect(bars.apply([whole(20, { volume: 10.000000000001 })])).toBe("none");
    expect(bars.last!.origin).toBe("live");
    expect(bars.last!.before).toBeUndefined();
  });

  test("says the most that any of its bars needs", () => {
    const bars = store(10, 20);
    expect(bars.apply([whole(20, { close: 7 }), whole(10, { close: 7 })])).toBe("older");
  });

  test("keeps the window within its bound", () => {
    const bars = new BarStore(2);
    bars.reset([bar(10), bar(20)]);
    expect(bars.apply([whole(30)])).toBe("rebuilt");
    expect(times(bars)).toEqual([20, 30]);
  });
});

describe("a revision", () => {
  test("of a final bar keeps the values of before the first one", () => {
    const bars = store(10, 20);
    bars.apply([change(10, { close: 2.5, revision: 1 })]);
    bars.apply([change(10, { close: 2.6, revision: 2 })]);
    expect(bars.bars[0]).toMatchObject({ close: 2.6, revision: 2, before: { close: 2 } });
  });

  test("is no change of an open bar, nor its becoming final", () => {
    const bars = new BarStore();
    bars.reset([bar(10, { final: false })]);
    bars.apply([change(10, { close: 5 }), change(10, { final: true })]);
    expect(bars.last).toMatchObject({ close: 5, final: true });
    expect(bars.last!.before).toBeUndefined();
  });

  test("is seen where stored bars are read again, and keeps their store", () => {
    const bars = store(10, 20);
    expect(bars.refresh([bar(10, { high: 4, origin: "clickhouse" }), bar(20)])).toBe("older");
    expect(bars.bars[0]).toMatchObject({ high: 4, origin: "clickhouse", before: { high: 3 } });
    expect(bars.bars[1]).toEqual(bar(20));
  });
});
