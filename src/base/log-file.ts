/** The log's file. A disk that is full, or gone, costs records and nothing else: the service goes on, and so does its log when it can be written again. */
import { open, type FileHandle } from 'node:fs/promises';
import { Writable } from 'node:stream';
import { messageOf } from './errors.js';

const againMs = 5000;

/** What is needed of a file. */
export type LogHandle = Pick<FileHandle, 'appendFile' | 'close'>;

/**
 * Opens the file, and makes it if it is not there (mode 0640). It never has an error afterwards: after a failed write records are dropped
 * until it could be opened anew, and standard error is told once.
 * @param openFile for tests
 * @param pauseMs between two tries to open it
 * @throws Error as `open` of node:fs, if it cannot be opened now
 */
export async function openLogFile(path: string, openFile: () => Promise<LogHandle> = () => open(path, 'a', 0o640), pauseMs = againMs): Promise<Writable> {
  let handle: LogHandle | undefined = await openFile();
  let nextTry = 0;
  let told = false;
  const append = async (records: Buffer): Promise<void> => {
    if (!handle && performance.now() < nextTry) return;
    try {
      handle ??= await openFile();
      await handle.appendFile(records);
      told = false;
    } catch (error) {
      if (!told) process.stderr.write(`haulier: cannot write the log ${path}: ${messageOf(error)}; records are lost until it can be\n`);
      told = true;
      nextTry = performance.now() + pauseMs;
      await handle?.close().catch(() => undefined);
      handle = undefined;
    }
  };
  return new Writable({
    write: (chunk: Buffer, _encoding, done) => void append(chunk).then(() => done()),
    writev: (chunks, done) => void append(Buffer.concat(chunks.map(({ chunk }) => chunk as Buffer))).then(() => done()),
    final: (done) => void (handle?.close() ?? Promise.resolve()).then(() => done(), () => done()),
  });
}
