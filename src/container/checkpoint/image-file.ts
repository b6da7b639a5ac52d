/** criu's image files: two magic words, then messages (criu's `images/*.proto`), each behind its length. */
import { existsSync } from 'node:fs';
import { appendFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Message } from './protobuf.js';

const imageMagic = 0x5456_4319;
const headerBytes = 8;

const word = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

/** Messages of `<name>.img`. @throws Error if it is none, or missing */
export async function readImage(folder: string, name: string): Promise<Message[]> {
  const bytes = await readFile(join(folder, `${name}.img`));
  if (bytes.length < headerBytes || bytes.readUInt32LE(0) !== imageMagic) throw new Error(`${name}.img is no criu image`);
  const messages: Message[] = [];
  for (let at = headerBytes; at < bytes.length;) {
    const size = bytes.readUInt32LE(at);
    if (at + 4 + size > bytes.length) throw new Error(`${name}.img is cut short`);
    messages.push(new Message(bytes.subarray(at + 4, at + 4 + size)));
    at += 4 + size;
  }
  return messages;
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
  await appendFile(path, Buffer.concat([...head, ...messages.flatMap((message) => [word(message.length), message])]), { mode: 0o600 });
}
