/** Reads and writes protobuf messages (protobuf.dev/programming-guides/encoding), as far as criu's images need it. */

const wireVarint = 0;
const wireFixed64 = 1;
const wireBytes = 2;
const wireFixed32 = 5;

function varint(bytes: Buffer, at: number): { readonly value: bigint; readonly next: number } {
  let value = 0n;
  for (let index = at, shift = 0n; index < bytes.length; index++, shift += 7n) {
    const byte = bytes[index] as number;
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) return { value: BigInt.asUintN(64, value), next: index + 1 };
  }
  throw new Error('cut short');
}

/** One message. A field that is missing is 0, '' or an empty list, as protobuf has it. */
export class Message {
  readonly #fields = new Map<number, (bigint | Buffer)[]>();

  /** @throws Error if it is cut short or no message */
  constructor(bytes: Buffer) {
    for (let at = 0; at < bytes.length;) {
      const key = varint(bytes, at);
      const { value, next } = Message.value(bytes, Number(key.value & 7n), key.next);
      const field = Number(key.value >> 3n);
      const values = this.#fields.get(field);
      if (values) values.push(value);
      else this.#fields.set(field, [value]);
      at = next;
    }
  }

  /** One value and where the next field begins. @throws Error if it is cut short */
  static value(bytes: Buffer, type: number, at: number): { readonly value: bigint | Buffer; readonly next: number } {
    if (type === wireVarint) return varint(bytes, at);
    const length = type === wireBytes ? varint(bytes, at) : undefined;
    const begin = length?.next ?? at;
    const size = length ? Number(length.value) : type === wireFixed64 ? 8 : type === wireFixed32 ? 4 : undefined;
    if (size === undefined) throw new Error(`wire type ${type} is not expected`);
    if (begin + size > bytes.length) throw new Error('cut short');
    if (length) return { value: bytes.subarray(begin, begin + size), next: begin + size };
    return { value: size === 8 ? bytes.readBigUInt64LE(begin) : BigInt(bytes.readUInt32LE(begin)), next: begin + size };
  }

  has(field: number): boolean {
    return this.#fields.has(field);
  }

  /** All values of a repeated number, packed or not. */
  bigs(field: number): bigint[] {
    return (this.#fields.get(field) ?? []).flatMap((value) => {
      if (typeof value === 'bigint') return [value];
      const found: bigint[] = [];
      for (let at = 0; at < value.length;) {
        const part = varint(value, at);
        found.push(part.value);
        at = part.next;
      }
      return found;
    });
  }

  /** An unsigned number of up to 64 bits; the last one if it is repeated. */
  big(field: number): bigint {
    return this.bigs(field).at(-1) ?? 0n;
  }

  numbers(field: number): number[] {
    return this.bigs(field).map(Number);
  }

  number(field: number): number {
    return Number(this.big(field));
  }

  text(field: number): string {
    const value = this.#fields.get(field)?.at(-1);
    return Buffer.isBuffer(value) ? value.toString('utf8') : '';
  }

  /** Nested messages. */
  messages(field: number): Message[] {
    return (this.#fields.get(field) ?? []).filter((value) => Buffer.isBuffer(value)).map((value) => new Message(value));
  }

  /** A nested message; undefined if there is none. */
  message(field: number): Message | undefined {
    return this.messages(field).at(-1);
  }
}

function writeVarint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Buffer.from([...bytes, rest]);
}

/** A field to write: an unsigned number, or the bytes of a string or a message. */
export type Field = readonly [field: number, value: number | string | Buffer];

/** Writes one message. */
export function writeMessage(...fields: readonly Field[]): Buffer {
  return Buffer.concat(fields.flatMap(([field, value]) => {
    if (typeof value === 'number') return [writeVarint(field * 8 + wireVarint), writeVarint(value)];
    const bytes = Buffer.from(value as string);
    return [writeVarint(field * 8 + wireBytes), writeVarint(bytes.length), bytes];
  }));
}

/** A message in which the number at `path` (a field of a nested message of ...) is another; everything else stays as it is. */
export function withNumber(message: Buffer, path: readonly number[], number: number): Buffer {
  const [wanted, ...below] = path;
  const parts: Buffer[] = [];
  for (let at = 0; at < message.length;) {
    const key = varint(message, at);
    const { value, next } = Message.value(message, Number(key.value & 7n), key.next);
    if (Number(key.value >> 3n) !== wanted) parts.push(message.subarray(at, next));
    else parts.push(writeMessage([wanted, below.length > 0 ? withNumber(value as Buffer, below, number) : number]));
    at = next;
  }
  return Buffer.concat(parts);
}

/** A message without a field; everything else stays as it is. */
export function without(message: Buffer, field: number): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < message.length;) {
    const key = varint(message, at);
    const { next } = Message.value(message, Number(key.value & 7n), key.next);
    if (Number(key.value >> 3n) !== field) parts.push(message.subarray(at, next));
    at = next;
  }
  return Buffer.concat(parts);
}

/** A message in which every value of a field of bytes is another, or left out; everything else stays as it is. */
export function rewritten(message: Buffer, field: number, change: (value: Buffer) => Buffer | undefined): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < message.length;) {
    const key = varint(message, at);
    const { value, next } = Message.value(message, Number(key.value & 7n), key.next);
    if (Number(key.value >> 3n) !== field || !Buffer.isBuffer(value)) parts.push(message.subarray(at, next));
    else {
      const changed = change(value);
      if (changed) parts.push(writeMessage([field, changed]));
    }
    at = next;
  }
  return Buffer.concat(parts);
}
