/** Reads an ELF core file as a debugger does (elf(5), core(5)), independently of how Haulier writes it. */
import { open, type FileHandle } from 'node:fs/promises';

/** A PT_LOAD. */
export interface CoreSegment {
  readonly address: number;
  readonly at: number;
  readonly inFile: number;
  readonly inMemory: number;
}

/** A core file. */
export interface Core {
  readonly threads: readonly { readonly tid: number; readonly pc: bigint; readonly sp: bigint; readonly floating: boolean }[];
  readonly summary: { readonly pid: number; readonly uid: number; readonly name: string; readonly commandLine: string } | undefined;
  readonly files: readonly { readonly start: bigint; readonly name: string }[];
  readonly segments: readonly CoreSegment[];
  read(segment: CoreSegment): Promise<Buffer>;
  /** Address of the first place where `text` is. */
  find(text: string): Promise<number | undefined>;
  close(): Promise<void>;
}

const cString = (bytes: Buffer): string => bytes.subarray(0, Math.max(0, bytes.indexOf(0))).toString('utf8');

async function part(file: FileHandle, at: number, bytes: number): Promise<Buffer> {
  const buffer = Buffer.alloc(bytes);
  const { bytesRead } = await file.read(buffer, 0, bytes, at);
  if (bytesRead !== bytes) throw new Error(`the core ends within ${at}+${bytes}`);
  return buffer;
}

/** Opens one. @throws Error if it is no 64-bit core */
export async function readCore(path: string): Promise<Core> {
  const file = await open(path, 'r');
  const header = await part(file, 0, 64);
  if (header.toString('latin1', 0, 4) !== '\x7fELF' || header.readUInt16LE(16) !== 4 || header.readUInt16LE(18) !== 62) throw new Error(`${path} is no core of x86-64`);
  const count = header.readUInt16LE(56);
  const table = await part(file, Number(header.readBigUInt64LE(32)), count * 56);
  const segments: CoreSegment[] = [];
  let notes: Buffer = Buffer.alloc(0);
  for (let index = 0; index < count; index++) {
    const entry = table.subarray(index * 56, (index + 1) * 56);
    const [at, address, , inFile, inMemory] = [8, 16, 24, 32, 40].map((offset) => Number(entry.readBigUInt64LE(offset))) as [number, number, number, number, number];
    if (entry.readUInt32LE(0) === 4) notes = await part(file, at, inFile);
    else if (entry.readUInt32LE(0) === 1) segments.push({ address, at, inFile, inMemory });
  }
  const threads: { tid: number; pc: bigint; sp: bigint; floating: boolean }[] = [];
  const files: { start: bigint; name: string }[] = [];
  let summary: Core['summary'];
  for (let at = 0; at < notes.length;) {
    const [nameBytes, bytes, type] = [0, 4, 8].map((offset) => notes.readUInt32LE(at + offset)) as [number, number, number];
    const begin = at + 12 + Math.ceil(nameBytes / 4) * 4;
    const content = notes.subarray(begin, begin + bytes);
    if (type === 1) threads.push({ tid: content.readInt32LE(32), pc: content.readBigUInt64LE(112 + 16 * 8), sp: content.readBigUInt64LE(112 + 19 * 8), floating: false });
    const last = threads.at(-1);
    if (type === 2 && last && bytes === 512) last.floating = true;
    if (type === 3) summary = { uid: content.readUInt32LE(16), pid: content.readInt32LE(24), name: cString(content.subarray(40, 56)), commandLine: cString(content.subarray(56, 136)) };
    if (type === 0x46494c45) {
      const mapped = Number(content.readBigUInt64LE(0));
      const names = content.subarray(16 + mapped * 24).toString('utf8').split('\0');
      for (let index = 0; index < mapped; index++) files.push({ start: content.readBigUInt64LE(16 + index * 24), name: names[index] ?? '' });
    }
    at = begin + Math.ceil(bytes / 4) * 4;
  }
  const read = (segment: CoreSegment): Promise<Buffer> => part(file, segment.at, segment.inFile);
  return {
    threads, summary, files, segments, read,
    find: async (text) => {
      for (const segment of segments.filter(({ inFile }) => inFile > 0)) {
        const place = (await read(segment)).indexOf(text, 0, 'latin1');
        if (place >= 0) return segment.address + place;
      }
      return undefined;
    },
    close: () => file.close(),
  };
}
