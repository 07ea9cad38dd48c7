/** Reads msgpack. Integers beyond 2^53 become bigint; all else is as in JSON. */

export type Value = null | boolean | number | bigint | string | Value[] | { [name: string]: Value } | Uint8Array;

const text = new TextDecoder("utf-8", { fatal: true });
const SAFE = BigInt(Number.MAX_SAFE_INTEGER);

/** The one document in `bytes`. Throws RangeError where it is cut off, goes on, or is no msgpack. */
export function decode(bytes: Uint8Array): Value {
  const [value, ...more] = decodeAll(bytes);
  if (value === undefined || more.length)
    throw new RangeError(`msgpack: expected one document, was ${more.length + 1}`);
  return value;
}

/** All documents in `bytes`. */
export function decodeAll(bytes: Uint8Array): Value[] {
  const reader = new Reader(bytes);
  const values: Value[] = [];
  while (!reader.atEnd) values.push(reader.value());
  return values;
}

class Reader {
  private at = 0;
  private readonly view: DataView;

  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get atEnd(): boolean {
    return this.at === this.bytes.length;
  }

  value(): Value {
    const type = this.view.getUint8(this.step(1));
    if (type < 0x80) return type;
    if (type < 0x90) return this.map(type & 0x0f);
    if (type < 0xa0) return this.array(type & 0x0f);
    if (type < 0xc0) return this.string(type & 0x1f);
    if (type >= 0xe0) return type - 0x100;
    if (type >= 0xcc && type <= 0xd3) return this.integer(type);
    return this.other(type);
  }

  private other(type: number): Value {
    switch (type) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return this.raw(this.length(1));
      case 0xc5:
        return this.raw(this.length(2));
      case 0xc6:
        return this.raw(this.length(4));
      case 0xca:
        return this.view.getFloat32(this.step(4));
      case 0xcb:
        return this.view.getFloat64(this.step(8));
      case 0xd9:
        return this.string(this.length(1));
      case 0xda:
        return this.string(this.length(2));
      case 0xdb:
        return this.string(this.length(4));
      case 0xdc:
        return this.array(this.length(2));
      case 0xdd:
        return this.array(this.length(4));
      case 0xde:
        return this.map(this.length(2));
      case 0xdf:
        return this.map(this.length(4));
    }
    throw new RangeError(`msgpack: expected a type of JSON, was 0x${type.toString(16)}`);
  }

  private integer(type: number): number | bigint {
    switch (type) {
      case 0xcc:
        return this.view.getUint8(this.step(1));
      case 0xcd:
        return this.view.getUint16(this.step(2));
      case 0xce:
        return this.view.getUint32(this.step(4));
      case 0xcf:
        return narrowed(this.view.getBigUint64(this.step(8)));
      case 0xd0:
        return this.view.getInt8(this.step(1));
      case 0xd1:
        return this.view.getInt16(this.step(2));
      case 0xd2:
        return this.view.getInt32(this.step(4));
      default:
        return narrowed(this.view.getBigInt64(this.step(8)));
    }
  }

  private array(length: number): Value[] {
    const items: Value[] = [];
    for (let index = 0; index < length; index += 1) items.push(this.value());
    return items;
  }

  private map(length: number): { [name: string]: Value } {
    const items: [string, Value][] = [];
    for (let index = 0; index < length; index += 1) items.push([String(this.value()), this.value()]);
    return Object.fromEntries(items);
  }

  private string(length: number): string {
    return text.decode(this.raw(length));
  }

  private raw(length: number): Uint8Array {
    const start = this.step(length);
    return this.bytes.subarray(start, start + length);
  }

  private length(size: 1 | 2 | 4): number {
    const at = this.step(size);
    if (size === 1) return this.view.getUint8(at);
    return size === 2 ? this.view.getUint16(at) : this.view.getUint32(at);
  }

  /** The position before a step over `size` bytes. */
  private step(size: number): number {
    const at = this.at;
    if (at + size > this.bytes.length) throw new RangeError("msgpack: expected more bytes, was the end");
    this.at += size;
    return at;
  }
}

function narrowed(value: bigint): number | bigint {
  return value <= SAFE && value >= -SAFE ? Number(value) : value;
}
