/** criu's images: two 32-bit magics, then protobuf messages, each behind its 32-bit length (criu's images/*.proto). */

const magicBytes = 8;
const commonMagic = 0x5456_4319;
const wireVarint = 0;
const wireBytes = 2;

function varint(bytes: Buffer, at: number): { readonly value: number; readonly next: number } {
  let value = 0;
  for (let index = at, factor = 1; index < bytes.length; index++, factor *= 128) {
    const byte = bytes[index] as number;
    value += (byte & 0x7f) * factor;
    if (byte < 0x80) return { value, next: index + 1 };
  }
  throw new Error('cut short');
}

/** Fields of one message: numbers, and the bytes of strings and nested messages; of a repeated one the last. */
export interface MessageFields {
  readonly numbers: ReadonlyMap<number, number>;
  readonly nested: ReadonlyMap<number, Buffer>;
}

/** Reads one message. @throws Error if it is none */
export function readMessage(bytes: Buffer): MessageFields {
  const numbers = new Map<number, number>();
  const nested = new Map<number, Buffer>();
  for (let at = 0; at < bytes.length;) {
    const key = varint(bytes, at);
    const field = Math.floor(key.value / 8);
    const { value, next } = varint(bytes, key.next);
    switch (key.value % 8) {
      case wireVarint:
        numbers.set(field, value);
        at = next;
        break;
      case wireBytes:
        nested.set(field, bytes.subarray(next, next + value));
        at = next + value;
        break;
      default:
        throw new Error(`wire type ${key.value % 8} is not expected`);
    }
  }
  return { numbers, nested };
}

/** Reads the messages of an image. @throws Error if it is none */
export function readImage(image: Buffer): MessageFields[] {
  const found: MessageFields[] = [];
  for (let at = magicBytes; at < image.length;) {
    const end = at + 4 + image.readUInt32LE(at);
    if (end > image.length) throw new Error('cut short');
    found.push(readMessage(image.subarray(at + 4, end)));
    at = end;
  }
  return found;
}

function writeVarint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Buffer.from([...bytes, rest]);
}

/** A field: a number, or the bytes of a string or a message. */
export type Field = readonly [field: number, value: number | string | Buffer];

/** Writes one message. */
export function writeMessage(...list: readonly Field[]): Buffer {
  return Buffer.concat(list.flatMap(([field, value]) => {
    if (typeof value === 'number') return [writeVarint(field * 8 + wireVarint), writeVarint(value)];
    const bytes = Buffer.from(value as string);
    return [writeVarint(field * 8 + wireBytes), writeVarint(bytes.length), bytes];
  }));
}

/** Messages as they follow each other in an image. */
export function framed(...messages: readonly Buffer[]): Buffer {
  return Buffer.concat(messages.flatMap((message) => {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(message.length);
    return [length, message];
  }));
}

/** What an image begins with. @param kind criu's number for it (include/magic.h) */
export function imageHead(kind: number): Buffer {
  const head = Buffer.alloc(magicBytes);
  head.writeUInt32LE(commonMagic, 0);
  head.writeUInt32LE(kind, 4);
  return head;
}
