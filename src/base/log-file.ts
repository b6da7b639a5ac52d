/**
 * The log's file. A disk that is full, or gone, costs records and nothing else: the service goes on, and so does its log when it can be
 * written again. A file that was moved or removed is made anew at once, as by oslo.log's `watch_log_file`; copytruncate works too.
 */
import { open, stat, type FileHandle } from 'node:fs/promises';
import { Writable } from 'node:stream';
import { messageOf } from './errors.js';

const againMs = 5000;

/** What is needed of a file. */
export type LogHandle = Pick<FileHandle, 'appendFile' | 'close' | 'stat'>;

/** The file system, for tests. */
export interface LogFiles {
  open(path: string): Promise<LogHandle>;
  stat(path: string): Promise<{ readonly dev: number; readonly ino: number }>;
}

const files: LogFiles = { open: (path) => open(path, 'a', 0o640), stat: (path) => stat(path) };

/** Where records go. */
export class LogFile extends Writable {
  #handle: LogHandle | undefined;
  #nextTry = 0;
  #told = false;
  #stale = false;

  /** @param pauseMs between two tries to open it */
  private constructor(private readonly path: string, handle: LogHandle, private readonly at: LogFiles, private readonly pauseMs: number) {
    super();
    this.#handle = handle;
  }

  /**
   * Opens the file, and makes it if it is not there (mode 0640). It never has an error afterwards: after a failed write records are dropped
   * until it could be opened anew, and standard error is told once.
   * @throws Error as `open` of node:fs, if it cannot be opened now
   */
  static async open(path: string, at: LogFiles = files, pauseMs = againMs): Promise<LogFile> {
    return new LogFile(path, await at.open(path), at, pauseMs);
  }

  /** Opens it anew before the next record. */
  reopen(): void {
    this.#stale = true;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    void this.#append(chunk).then(done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    void this.#append(Buffer.concat(chunks.map(({ chunk }) => chunk))).then(done);
  }

  override _final(done: () => void): void {
    void this.#close().then(done);
  }

  async #append(records: Buffer): Promise<void> {
    if (!this.#handle && performance.now() < this.#nextTry) return;
    try {
      if (this.#handle && (this.#stale || (await this.#moved(this.#handle)))) await this.#close();
      this.#handle ??= await this.at.open(this.path);
      this.#stale = false;
      await this.#handle.appendFile(records);
      this.#told = false;
    } catch (error) {
      if (!this.#told) process.stderr.write(`haulier: cannot write the log ${this.path}: ${messageOf(error)}; records are lost until it can be\n`);
      this.#told = true;
      this.#nextTry = performance.now() + this.pauseMs;
      await this.#close();
    }
  }

  /** Whether the path is another file's by now, or nobody's. */
  async #moved(handle: LogHandle): Promise<boolean> {
    const [own, there] = await Promise.all([handle.stat(), this.at.stat(this.path).catch(() => undefined)]);
    return there === undefined || own.ino !== there.ino || own.dev !== there.dev;
  }

  async #close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close().catch(() => undefined);
  }
}
