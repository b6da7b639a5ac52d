/** criu's image files: two magic words, then messages (criu's `images/*.proto`), each behind its length. */
import { existsSync } from 'node:fs';
import { appendFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Message } from './protobuf.js';

const imageMagic = 0x5456_4319;
const headerBytes = 8;

const word = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

/** Messages of an image's bytes. @throws Error if it is none */
function split(bytes: Buffer, name: string): Buffer[] {
  if (bytes.length < headerBytes || bytes.readUInt32LE(0) !== imageMagic) throw new Error(`${name}.img is no criu image`);
  const messages: Buffer[] = [];
  for (let at = headerBytes; at < bytes.length;) {
    const end = at + 4 + bytes.readUInt32LE(at);
    if (end > bytes.length) throw new Error(`${name}.img is cut short`);
    messages.push(bytes.subarray(at + 4, end));
    at = end;
  }
  return messages;
}

const framed = (messages: readonly Buffer[]): Buffer[] => messages.flatMap((message) => [word(message.length), message]);

/** Messages of `<name>.img`. @throws Error if it is none, or missing */
export async function readImage(folder: string, name: string): Promise<Message[]> {
  return split(await readFile(join(folder, `${name}.img`)), name).map((bytes) => new Message(bytes));
}

/** The same; none of an image that is not there: criu makes one when it has its first message. */
export async function readOptionalImage(folder: string, name: string): Promise<Message[]> {
  return existsSync(join(folder, `${name}.img`)) ? await readImage(folder, name) : [];
}

/**
 * Adds messages at the end of `<name>.img`, or makes it.
 * @param kind the second magic word (criu's include/magic.h)
 */
export async function addToImage(folder: string, name: string, kind: number, ...messages: readonly Buffer[]): Promise<void> {
  const path = join(folder, `${name}.img`);
  const head = existsSync(path) ? [] : [word(imageMagic), word(kind)];
  await appendFile(path, Buffer.concat([...head, ...framed(messages)]), { mode: 0o600 });
}

/** An image of the same kind as `old` with other messages. */
export const imageOf = (old: Buffer, ...messages: readonly Buffer[]): Buffer => Buffer.concat([old.subarray(0, headerBytes), ...framed(messages)]);

/** Changes messages of `<name>.img`. @param change gives the bytes of one message as they shall be */
export async function changeImage(folder: string, name: string, change: (bytes: Buffer) => Buffer): Promise<void> {
  const path = join(folder, `${name}.img`);
  const bytes = await readFile(path);
  await writeFile(path, imageOf(bytes, ...split(bytes, name).map(change)));
}
