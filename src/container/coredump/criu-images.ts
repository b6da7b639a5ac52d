/**
 * What a core file needs out of criu's images: processes, registers, mappings, pages. Formats: criu's `images/*.proto`; every file is
 * two magic words, then messages, each behind its length. Only x86-64 is read: registers differ by architecture.
 */
import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { readImage } from '../checkpoint/image-file.js';
import type { Message } from '../checkpoint/protobuf.js';

/** Bytes of a page, on x86-64. */
export const pageBytes = 4096;

/** One thread. Ids are those inside the container. */
export interface ThreadImage {
  readonly tid: number;
  readonly comm: string;
  readonly blockedSignals: bigint;
  /** General registers in the order of the kernel's `user_regs_struct`. */
  readonly registers: readonly bigint[];
  /** `user_fpregs_struct` (FXSAVE): 512 bytes; undefined if it has none. */
  readonly floating: Buffer | undefined;
}

/** One mapping of a process. */
export interface MappingImage {
  readonly start: bigint;
  readonly end: bigint;
  /** PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4. */
  readonly protection: number;
  /** Bytes into the file. */
  readonly offset: bigint;
  /** Name inside the container; undefined for memory without a file. */
  readonly file: string | undefined;
  /** Pages that are not in the images are zeros; of a file's mapping they are what the file has. */
  readonly anonymous: boolean;
  /** Shared memory without a file: its pages are in an image of its own. */
  readonly sharedMemory: bigint | undefined;
}

/** One process. */
export interface ProcessImage {
  readonly pid: number;
  readonly ppid: number;
  readonly pgid: number;
  readonly sid: number;
  readonly uid: number;
  readonly gid: number;
  /** The main thread first. */
  readonly threads: readonly ThreadImage[];
  readonly mappings: readonly MappingImage[];
  /** Auxiliary vector: pairs of words. */
  readonly auxv: readonly bigint[];
  /** Where its command line is in memory. */
  readonly arguments: { readonly start: bigint; readonly end: bigint };
}

// VMA_AREA_* of criu's include/image.h
const vsyscall = 1 << 2;
const sharedFile = 1 << 7;
const fileMapping = (1 << 6) | sharedFile;
const sharedAnonymous = 1 << 8;
/** Also shared memory without a file is such a one, of the kernel's making. */
const memfd = 1 << 14;
/** Lies over a part of another mapping: pages that may not be touched. */
const guard = 1 << 16;
const machineX86 = 1;
const taskDead = 2;
/** Numbers of `user_x86_regs_entry` that make `user_regs_struct`: r15 ... gs. */
const generalRegisters = 27;

function floating(message: Message | undefined): Buffer | undefined {
  if (!message) return undefined;
  const area = Buffer.alloc(512);
  [1, 2, 3, 4].forEach((field, index) => area.writeUInt16LE(message.number(field) & 0xffff, index * 2)); // cwd swd twd fop
  area.writeBigUInt64LE(message.big(5), 8);
  area.writeBigUInt64LE(message.big(6), 16);
  area.writeUInt32LE(message.number(7), 24); // mxcsr and its mask
  area.writeUInt32LE(message.number(8), 28);
  message.numbers(9).slice(0, 32).forEach((word, index) => area.writeUInt32LE(word >>> 0, 32 + index * 4)); // st0 to st7
  message.numbers(10).slice(0, 64).forEach((word, index) => area.writeUInt32LE(word >>> 0, 160 + index * 4)); // xmm0 to xmm15
  return area;
}

/** @returns undefined for a process that has ended and was not waited for */
async function readThread(folder: string, tid: number): Promise<{ readonly thread: ThreadImage; readonly core: Message } | undefined> {
  const [core] = await readImage(folder, `core-${tid}`);
  if (!core) throw new Error(`core-${tid}.img is empty`);
  if (core.message(3)?.number(1) === taskDead) return undefined;
  if (core.number(1) !== machineX86) throw new Error('only cores of x86-64 can be made');
  const info = core.message(2);
  const registers = info?.message(2);
  if (!info || !registers) throw new Error(`core-${tid}.img has no registers`);
  const blockedSignals = core.message(5)?.has(6) ? core.message(5)?.big(6) : core.message(3)?.big(5);
  return {
    core,
    thread: {
      tid, comm: core.message(5)?.text(13) || core.message(3)?.text(6) || '', blockedSignals: blockedSignals ?? 0n,
      registers: Array.from({ length: generalRegisters }, (_, index) => registers.big(index + 1)),
      floating: floating(info.message(3)),
    },
  };
}

/** Processes of a dump, without those that had ended. @throws Error if the images are strange */
export async function readProcesses(folder: string): Promise<ProcessImage[]> {
  const files = await readFiles(folder);
  const found: ProcessImage[] = [];
  for (const item of await readImage(folder, 'pstree')) {
    const pid = item.number(1);
    const main = await readThread(folder, pid);
    if (!main) continue;
    const others = await Promise.all(item.numbers(5).filter((tid) => tid !== pid).map((tid) => readThread(folder, tid)));
    const [mm] = await readImage(folder, `mm-${pid}`);
    if (!mm) throw new Error(`mm-${pid}.img is empty`);
    const credentials = main.core.message(5)?.message(10);
    found.push({
      pid, ppid: item.number(2), pgid: item.number(3), sid: item.number(4), uid: credentials?.number(1) ?? 0, gid: credentials?.number(2) ?? 0,
      threads: [main.thread, ...others.flatMap((other) => (other ? [other.thread] : []))],
      mappings: mm.messages(14).flatMap((mapping) => readMapping(mapping, files)),
      auxv: mm.bigs(13),
      arguments: { start: mm.big(8), end: mm.big(9) },
    });
  }
  return found;
}

/** What a mapping may be of: a file, or shared memory. */
interface Mapped {
  readonly name?: string;
  readonly sharedMemory?: bigint;
}

/** By criu's file id. */
type MappedFiles = ReadonlyMap<bigint, Mapped>;

async function readFiles(folder: string): Promise<MappedFiles> {
  const inodes = new Map((await readImage(folder, 'memfd').catch(missingIsNone)).map((inode) => [inode.big(7), inode.big(5)] as const));
  return new Map((await readImage(folder, 'files')).flatMap((file): (readonly [bigint, Mapped])[] => {
    const name = file.message(3)?.text(6);
    const sharedMemory = inodes.get(file.message(20)?.big(5) ?? -1n);
    return name !== undefined ? [[file.big(2), { name }]] : sharedMemory !== undefined ? [[file.big(2), { sharedMemory }]] : [];
  }));
}

function missingIsNone(error: NodeJS.ErrnoException): Message[] {
  if (error.code !== 'ENOENT') throw error;
  return [];
}

function readMapping(message: Message, files: MappedFiles): MappingImage[] {
  const status = message.number(7);
  if (status & (vsyscall | guard)) return [];
  const of = status & fileMapping ? files.get(message.big(4)) : undefined;
  const sharedMemory = status & sharedAnonymous ? message.big(4) : (status & memfd) !== 0 && (status & sharedFile) !== 0 ? of?.sharedMemory : undefined;
  return [{
    start: message.big(1), end: message.big(2), protection: message.number(5), offset: message.big(3), file: of?.name,
    anonymous: sharedMemory !== undefined || (status & fileMapping) === 0, sharedMemory,
  }];
}

/** A stretch of pages that is in the images. */
export interface PageRun {
  /** First address; in shared memory, the offset in it. */
  readonly address: bigint;
  readonly bytes: bigint;
  /** Where it is in the pages file. */
  readonly at: number;
}

/** Pages of one process, or of one piece of shared memory. Close it. */
export class Pages {
  private constructor(private readonly file: FileHandle, readonly runs: readonly PageRun[]) {}

  /** @param name `pagemap-1` or `pagemap-shmem-5` */
  static async open(folder: string, name: string): Promise<Pages> {
    const [head, ...entries] = await readImage(folder, name);
    const runs: PageRun[] = [];
    let at = 0;
    for (const entry of entries) {
      const count = entry.has(5) ? entry.number(5) : entry.number(2);
      const present = !entry.has(4) || (entry.number(4) & 4) !== 0; // PE_PRESENT
      if (!present) continue;
      const bytes = count * pageBytes;
      runs.push({ address: entry.big(1), bytes: BigInt(bytes), at });
      at += bytes;
    }
    return new Pages(await open(join(folder, `pages-${head?.number(1) ?? 0}.img`), 'r'), runs);
  }

  /** The runs within a range, cut to it. */
  within(start: bigint, end: bigint): PageRun[] {
    return this.runs.flatMap((run) => {
      const from = run.address > start ? run.address : start;
      const to = run.address + run.bytes < end ? run.address + run.bytes : end;
      return from < to ? [{ address: from, bytes: to - from, at: run.at + Number(from - run.address) }] : [];
    });
  }

  /** Copies `bytes` from the pages file's `at` into `target` at `position`. */
  async copy(at: number, bytes: number, target: FileHandle, position: number): Promise<void> {
    const buffer = Buffer.allocUnsafe(Math.min(bytes, 4 * 1024 * 1024));
    for (let done = 0; done < bytes;) {
      const { bytesRead } = await this.file.read(buffer, 0, Math.min(buffer.length, bytes - done), at + done);
      if (bytesRead === 0) throw new Error('the pages file is cut short');
      done += (await target.write(buffer, 0, bytesRead, position + done)).bytesWritten;
    }
  }

  /** What is at `start` up to `end`; only what is in the images, zeros for the rest. */
  async read(start: bigint, end: bigint): Promise<Buffer> {
    const whole = Buffer.alloc(Number(end - start));
    for (const run of this.within(start, end)) await this.file.read(whole, Number(run.address - start), Number(run.bytes), run.at);
    return whole;
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}
