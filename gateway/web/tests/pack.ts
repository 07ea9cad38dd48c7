/** Writes msgpack as the server does: integers as small as they are, other numbers as doubles. */

export type Packable =
  null | boolean | number | bigint | string | Double | readonly Packable[] | { readonly [name: string]: Packable };

/** A whole number that is sent as a double. */
export class Double {
  constructor(readonly value: number) {}
}

export function pack(value: Packable): Uint8Array {
  const bytes: number[] = [];
  write(value, bytes);
  return new Uint8Array(bytes);
}

function write(value: Packable, to: number[]): void {
  if (value === null) to.push(0xc0);
  else if (typeof value === "boolean") to.push(value ? 0xc3 : 0xc2);
  else if (typeof value === "string") writeText(value, to);
  else if (value instanceof Double) writeDouble(value.value, to);
  else if (typeof value === "bigint") writeInteger(value, to);
  else if (typeof value === "number")
    Number.isSafeInteger(value) ? writeInteger(BigInt(value), to) : writeDouble(value, to);
  else if (Array.isArray(value)) {
    head(value.length, 0x90, 16, 0xdc, to);
    value.forEach((item) => write(item, to));
  } else {
    const items = Object.entries(value as { [name: string]: Packable });
    head(items.length, 0x80, 16, 0xde, to);
    items.forEach(([name, item]) => (write(name, to), write(item, to)));
  }
}

function head(length: number, short: number, below: number, long: number, to: number[]): void {
  if (length < below) to.push(short | length);
  else if (length < 65_536) to.push(long, ...bigEndian(BigInt(length), 2));
  else to.push(long + 1, ...bigEndian(BigInt(length), 4));
}

function writeText(value: string, to: number[]): void {
  const bytes = new TextEncoder().encode(value);
  if (bytes.length < 32) to.push(0xa0 | bytes.length);
  else if (bytes.length < 256) to.push(0xd9, bytes.length);
  else to.push(0xda, ...bigEndian(BigInt(bytes.length), 2));
  to.push(...bytes);
}

function writeDouble(value: number, to: number[]): void {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  to.push(0xcb, ...new Uint8Array(view.buffer));
}

function writeInteger(value: bigint, to: number[]): void {
  if (value >= 0n) {
    if (value < 128n) to.push(Number(value));
    else if (value < 1n << 8n) to.push(0xcc, ...bigEndian(value, 1));
    else if (value < 1n << 16n) to.push(0xcd, ...bigEndian(value, 2));
    else if (value < 1n << 32n) to.push(0xce, ...bigEndian(value, 4));
    else to.push(0xcf, ...bigEndian(value, 8));
  } else if (value >= -32n) to.push(Number(value + 256n));
  else if (value >= -(1n << 7n)) to.push(0xd0, ...bigEndian(value, 1));
  else if (value >= -(1n << 15n)) to.push(0xd1, ...bigEndian(value, 2));
  else if (value >= -(1n << 31n)) to.push(0xd2, ...bigEndian(value, 4));
  else to.push(0xd3, ...bigEndian(value, 8));
}

function bigEndian(value: bigint, size: number): number[] {
  return Array.from({ length: size }, (_, at) => Number((value >> BigInt(8 * (size - 1 - at))) & 0xffn));
}
