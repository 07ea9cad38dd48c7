import { describe, expect, test } from "vitest";
import { decode, decodeAll } from "../src/live/msgpack";
import { Double, type Packable, pack } from "./pack";

describe("a document", () => {
  test.each<Packable>([
    null,
    true,
    false,
    "",
    "é\u{1f600}",
    "x".repeat(40),
    "x".repeat(300),
    0,
    127,
    128,
    255,
    256,
    65_535,
    65_536,
    4_294_967_295,
    4_294_967_296,
    Number.MAX_SAFE_INTEGER,
    -1,
    -32,
    -33,
    -128,
    -129,
    -32_768,
    -32_769,
    -2_147_483_648,
    -2_147_483_649,
    1.5,
    -0.1,
    1e300,
    [],
    [1, [2, [3]]],
    Array.from({ length: 20 }, (_, at) => at),
    {},
    { a: 1, b: [null] },
    Object.fromEntries(Array.from({ length: 20 }, (_, at) => [`k${at}`, at])),
  ])("of %j is read as it was written", (value) => {
    expect(decode(pack(value))).toEqual(value);
  });

  test("of a long list", () => {
    const many = Array.from({ length: 70_000 }, (_, at) => at);
    expect(decode(pack(many))).toEqual(many);
  });

  test.each([1_795_987_598_311_305_438n, 2n ** 63n, 2n ** 64n - 1n, -(2n ** 63n)])(
    "keeps every digit of %s",
    (value) => {
      expect(decode(pack(value))).toBe(value);
    },
  );

  test("has whole numbers as numbers also where they came as doubles", () => {
    expect(decode(pack(new Double(5)))).toBe(5);
  });

  test("of a float of 32 bits and of raw bytes", () => {
    expect(decode(new Uint8Array([0xca, 0x3f, 0x80, 0, 0]))).toBe(1);
    expect(decode(new Uint8Array([0xc4, 2, 7, 8]))).toEqual(new Uint8Array([7, 8]));
  });

  test.each([
    ["nothing", []],
    ["a cut text", [0xa5, 0x61]],
    ["a cut number", [0xcf, 0, 0]],
    ["a list without its end", [0x92, 1]],
    ["a type of no JSON", [0xc1]],
    ["an extension", [0xd4, 1, 2]],
    ["two documents", [1, 2]],
  ])("is refused where it is %s", (_, bytes) => {
    expect(() => decode(new Uint8Array(bytes))).toThrow(RangeError);
  });

  test("that is not valid as text is refused", () => {
    expect(() => decode(new Uint8Array([0xa2, 0xc3, 0x28]))).toThrow(TypeError);
  });

  test("may be followed by others", () => {
    expect(decodeAll(new Uint8Array([...pack({ a: 1 }), ...pack([2]), ...pack(null)]))).toEqual([{ a: 1 }, [2], null]);
  });
});
