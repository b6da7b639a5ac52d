/**
 * Writes one process of a criu dump as an ELF core file (elf(5), core(5); the notes as Linux's fs/binfmt_elf.c has them), for gdb.
 *
 * As in the kernel's own cores, what a program has of its files unchanged is not in it: a debugger takes it from the files, whose
 * names are in NT_FILE. Pages that were never touched are holes, so a core takes no more disk than the images.
 */
import { open } from 'node:fs/promises';
import { pageBytes, Pages, type MappingImage, type PageRun, type ProcessImage, type ThreadImage } from './criu-images.js';

const elfHeaderBytes = 64;
const programHeaderBytes = 56;
const sectionHeaderBytes = 64;
/** Program headers that the ELF header's 16 bits can count; more stand in a section header (PN_XNUM). */
const manyHeaders = 0xffff;

const align = (value: number, to: number): number => Math.ceil(value / to) * to;

/** One note: owner, type, content, each padded to 4 bytes. */
function note(type: number, content: Buffer): Buffer {
  const head = Buffer.alloc(12 + 8);
  head.writeUInt32LE(5, 0);
  head.writeUInt32LE(content.length, 4);
  head.writeUInt32LE(type, 8);
  head.write('CORE\0', 12, 'latin1');
  return Buffer.concat([head, content, Buffer.alloc(align(content.length, 4) - content.length)]);
}

/** NT_PRSTATUS: `elf_prstatus`. */
function status(process: ProcessImage, thread: ThreadImage): Buffer {
  const content = Buffer.alloc(336);
  content.writeBigUInt64LE(thread.blockedSignals, 24);
  [thread.tid, process.ppid, process.pgid, process.sid].forEach((id, index) => content.writeInt32LE(id, 32 + index * 4));
  thread.registers.forEach((register, index) => content.writeBigUInt64LE(register, 112 + index * 8));
  content.writeInt32LE(thread.floating ? 1 : 0, 328);
  return note(1, content);
}

/** NT_PRPSINFO: `elf_prpsinfo`. */
function summary(process: ProcessImage, commandLine: string): Buffer {
  const content = Buffer.alloc(136);
  content.writeUInt8(0, 0);
  content.write('R', 1, 'latin1');
  content.writeUInt32LE(process.uid, 16);
  content.writeUInt32LE(process.gid, 20);
  [process.pid, process.ppid, process.pgid, process.sid].forEach((id, index) => content.writeInt32LE(id, 24 + index * 4));
  content.write(process.threads[0]?.comm ?? '', 40, 15, 'utf8');
  content.write(commandLine, 56, 79, 'utf8');
  return note(3, content);
}

/** NT_AUXV. */
function auxiliary(process: ProcessImage): Buffer {
  const content = Buffer.alloc(process.auxv.length * 8);
  process.auxv.forEach((word, index) => content.writeBigUInt64LE(word, index * 8));
  return note(6, content);
}

/** NT_FILE: which file is mapped where. */
function fileMap(process: ProcessImage): Buffer {
  const mapped = process.mappings.filter((mapping) => mapping.file !== undefined);
  const table = Buffer.alloc(16 + mapped.length * 24);
  table.writeBigUInt64LE(BigInt(mapped.length), 0);
  table.writeBigUInt64LE(BigInt(pageBytes), 8);
  mapped.forEach((mapping, index) => [mapping.start, mapping.end, mapping.offset / BigInt(pageBytes)].forEach((word, part) => table.writeBigUInt64LE(word, 16 + index * 24 + part * 8)));
  return note(0x4649_4c45, Buffer.concat([table, ...mapped.map((mapping) => Buffer.from(`${mapping.file}\0`, 'utf8'))]));
}

function notes(process: ProcessImage, commandLine: string): Buffer {
  return Buffer.concat(process.threads.flatMap((thread, index) => [
    status(process, thread),
    ...(index === 0 ? [summary(process, commandLine), auxiliary(process), fileMap(process)] : []),
    ...(thread.floating ? [note(2, thread.floating)] : []),
  ]));
}

/** A stretch of memory in the core: `present` bytes of it are in the file (holes among them), the rest is not. */
interface Segment {
  readonly mapping: MappingImage;
  readonly start: bigint;
  readonly bytes: bigint;
  readonly inFile: boolean;
  /** What to copy, by address. */
  readonly runs: readonly PageRun[];
}

/** Memory without a file is whole in the core; a file's mapping is cut into what the process has changed and what it has not. */
function segmentsOf(mapping: MappingImage, runs: readonly PageRun[]): Segment[] {
  if (mapping.anonymous) return [{ mapping, start: mapping.start, bytes: mapping.end - mapping.start, inFile: true, runs }];
  const found: Segment[] = [];
  let at = mapping.start;
  const unchanged = (to: bigint): void => { if (to > at) found.push({ mapping, start: at, bytes: to - at, inFile: false, runs: [] }); };
  for (const run of runs) {
    unchanged(run.address);
    found.push({ mapping, start: run.address, bytes: run.bytes, inFile: true, runs: [run] });
    at = run.address + run.bytes;
  }
  unchanged(mapping.end);
  return found;
}

function programHeader(type: number, flags: number, offset: number, address: bigint, inFile: bigint, inMemory: bigint, alignment: number): Buffer {
  const header = Buffer.alloc(programHeaderBytes);
  header.writeUInt32LE(type, 0);
  header.writeUInt32LE(flags, 4);
  [BigInt(offset), address, 0n, inFile, inMemory, BigInt(alignment)].forEach((word, index) => header.writeBigUInt64LE(word, 8 + index * 8));
  return header;
}

/** PF_R 4, PF_W 2, PF_X 1 from PROT_*. */
const flagsOf = (protection: number): number => ((protection & 1) << 2) | (protection & 2) | ((protection & 4) >> 2);

function elfHeader(headers: number, sectionsAt: number): Buffer {
  const header = Buffer.alloc(elfHeaderBytes);
  header.write('\x7fELF\x02\x01\x01', 0, 'latin1'); // 64 bits, little endian
  header.writeUInt16LE(4, 16); // ET_CORE
  header.writeUInt16LE(62, 18); // EM_X86_64
  header.writeUInt32LE(1, 20);
  header.writeBigUInt64LE(BigInt(elfHeaderBytes), 32);
  header.writeBigUInt64LE(BigInt(sectionsAt), 40);
  header.writeUInt16LE(elfHeaderBytes, 52);
  header.writeUInt16LE(programHeaderBytes, 54);
  header.writeUInt16LE(Math.min(headers, manyHeaders), 56);
  header.writeUInt16LE(sectionsAt > 0 ? sectionHeaderBytes : 0, 58);
  header.writeUInt16LE(sectionsAt > 0 ? 1 : 0, 60);
  return header;
}

/**
 * Writes the core of `process` to the new file `path`, mode 0600.
 * @param folder criu's images
 */
export async function writeCore(folder: string, process: ProcessImage, path: string): Promise<void> {
  const own = await Pages.open(folder, `pagemap-${process.pid}`);
  const shared = new Map<bigint, Pages>();
  const file = await open(path, 'wx', 0o600);
  try {
    for (const { sharedMemory } of process.mappings) {
      if (sharedMemory === undefined || shared.has(sharedMemory)) continue;
      const pages = await Pages.open(folder, `pagemap-shmem-${sharedMemory}`).catch((error: NodeJS.ErrnoException) => { if (error.code !== 'ENOENT') throw error; });
      if (pages) shared.set(sharedMemory, pages);
    }
    const segments = process.mappings.flatMap((mapping) => {
      const pages = mapping.sharedMemory === undefined ? own : shared.get(mapping.sharedMemory);
      if (mapping.sharedMemory === undefined) return segmentsOf(mapping, own.within(mapping.start, mapping.end));
      const runs = pages?.within(mapping.offset, mapping.offset + (mapping.end - mapping.start)) ?? [];
      return segmentsOf(mapping, runs.map((run) => ({ ...run, address: run.address - mapping.offset + mapping.start })));
    });
    const commandLine = (await own.read(process.arguments.start, limited(process.arguments))).toString('utf8').replace(/\0+$/, '').replaceAll('\0', ' ');
    const notesContent = notes(process, commandLine);
    const headers = segments.length + 1;
    const extended = headers >= manyHeaders;
    const sectionsAt = extended ? elfHeaderBytes + headers * programHeaderBytes : 0;
    const notesAt = elfHeaderBytes + headers * programHeaderBytes + (extended ? sectionHeaderBytes : 0);
    let at = align(notesAt + notesContent.length, pageBytes);
    const table = [programHeader(4, 0, notesAt, 0n, BigInt(notesContent.length), 0n, 4)];
    for (const { mapping, start, bytes, inFile, runs } of segments) {
      table.push(programHeader(1, flagsOf(mapping.protection), at, start, inFile ? bytes : 0n, bytes, pageBytes));
      if (!inFile) continue;
      const pages = mapping.sharedMemory === undefined ? own : shared.get(mapping.sharedMemory);
      for (const run of runs) await pages?.copy(run.at, Number(run.bytes), file, at + Number(run.address - start));
      at += Number(bytes);
    }
    await file.truncate(at); // holes at the end too
    const section = Buffer.alloc(extended ? sectionHeaderBytes : 0);
    if (extended) section.writeUInt32LE(headers, 44); // sh_info
    const front = Buffer.concat([elfHeader(headers, sectionsAt), ...table, section, notesContent]);
    await file.write(front, 0, front.length, 0);
  } finally {
    await file.close();
    for (const pages of [own, ...shared.values()]) await pages.close();
  }
}

/** A command line may be as long as its process likes; a core shows 80 bytes of it. */
function limited({ start, end }: ProcessImage['arguments']): bigint {
  return end > start ? (end - start > 80n ? start + 80n : end) : start;
}
