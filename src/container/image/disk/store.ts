/** Keeps an image that can only be read as a whole, as a file without the zeros in it. */
import { open, type FileHandle } from 'node:fs/promises';
import type { ImageSource } from '../../spec.js';
import { unacceptable } from '../image-error.js';
import { StoredMeter } from '../meters.js';
import { unbroken } from '../unpack.js';

const blockBytes = 64 * 1024;
const zeros = Buffer.alloc(blockBytes);

/** Writes all of `block`: a disk that fills up or a limit may take a part of it without an error. */
export async function writeWhole(handle: Pick<FileHandle, 'write'>, block: Buffer, at: number): Promise<void> {
  for (let done = 0; done < block.length;) done += (await handle.write(block, done, block.length - done, at + done)).bytesWritten;
}

/**
 * Writes the source into a new file and verifies it.
 * @returns its bytes
 * @throws IMAGE_UNACCEPTABLE, the source's own error, the file system's
 */
export async function storeImage(source: ImageSource, bytes: AsyncIterable<Buffer>, file: string, maxBytes: number, signal: AbortSignal, progress: (bytes: number) => void): Promise<number> {
  const stored = new StoredMeter(source);
  const handle = await open(file, 'wx', 0o600);
  try {
    for await (const chunk of unbroken(source, bytes, stored)) {
      signal.throwIfAborted();
      const at = stored.bytes;
      stored.add(chunk);
      if (stored.bytes > maxBytes) throw unacceptable(source.id, `it has more than ${maxBytes} bytes`);
      for (let from = 0; from < chunk.length; from += blockBytes) {
        const block = chunk.subarray(from, from + blockBytes);
        if (!block.equals(zeros.subarray(0, block.length))) await writeWhole(handle, block, at + from);
      }
      progress(stored.bytes);
    }
    await handle.truncate(stored.bytes);
  } finally {
    await handle.close();
  }
  const wrong = stored.verdict();
  if (wrong !== undefined) throw unacceptable(source.id, wrong);
  return stored.bytes;
}
