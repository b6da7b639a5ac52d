/**
 * What a host remembers of its hauls: `<instances_path>/_hauls/<haul>.<role>`, durable before the step that it stands for is taken.
 *
 * The container stands still while most of them are written, so that only the first one makes a file. The others change its last
 * sector, where there is nothing but the phase: a disk writes a sector whole or not at all, and neither the file's length nor any folder
 * changes, so that the file system's journal, and whatever else waits for it, need not go first.
 */
import { mkdir, open, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readJson, syncDirectory, writeAtomic } from '../../base/atomic.js';
import { HaulierError } from '../../base/errors.js';
import type { Peer } from '../client.js';
import type { DestinationPhase, SourcePhase } from './protocol.js';

interface Common {
  readonly version: 1;
  /** Who wrote it: the folder may be shared. */
  readonly here?: string;
  readonly haul: string;
  /** Both hosts see the container's folder. */
  readonly shared?: boolean;
  readonly instance: string;
  /** The other host. */
  readonly peer: Peer;
  /** With it the source asks what became of the haul. */
  readonly secret: string;
}

/** The record of one side. */
export type HaulRecord =
  | (Common & { readonly role: 'source'; readonly phase: SourcePhase; /** It is being, or was, stopped for the haul. */ readonly stopped?: boolean })
  | (Common & { readonly role: 'destination'; readonly phase: DestinationPhase; /** It was stopped at the source, and is started here. */ readonly restart?: boolean; /** It was paused, and stays so. */ readonly paused?: boolean });

const name = /^([0-9a-f-]{36})\.(source|destination)$/;

/** The smallest sector that there is. */
const sectorBytes = 512;

/** JSON in whole sectors, padded with spaces: what stays, and in the last one what changes. */
function textOf({ phase, ...rest }: HaulRecord): { readonly lasting: Buffer; readonly phase: Buffer } {
  const { paused, ...lasting } = 'paused' in rest ? rest : { ...rest, paused: undefined };
  const head = Buffer.from(`${JSON.stringify(lasting).slice(0, -1)},`);
  const tail = `${JSON.stringify({ phase, paused }).slice(1, -1)}}`;
  return { lasting: Buffer.concat([head, Buffer.alloc((sectorBytes - (head.length % sectorBytes)) % sectorBytes, ' ')]), phase: Buffer.from(`${tail.padEnd(sectorBytes - 1)}\n`) };
}

/** The records of one host. */
export class HaulRecords {
  readonly #folder: string;

  /** @param host whose records these are; undefined: all that lie there */
  constructor(instancesPath: string, private readonly host?: string) {
    this.#folder = join(instancesPath, '_hauls');
  }

  async write(record: HaulRecord): Promise<void> {
    const path = this.#path(record.haul, record.role);
    const { lasting, phase } = textOf(this.host === undefined ? record : { ...record, here: this.host });
    const before = await readFile(path).catch(() => undefined);
    if (before?.length !== lasting.length + phase.length || !before.subarray(0, lasting.length).equals(lasting)) {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      return await writeAtomic(path, Buffer.concat([lasting, phase]));
    }
    const file = await open(path, 'r+');
    try {
      await file.write(phase, 0, phase.length, lasting.length);
      await file.datasync();
    } finally {
      await file.close();
    }
  }

  /** @throws STATE_DAMAGED */
  async read(haul: string, role: HaulRecord['role']): Promise<HaulRecord | undefined> {
    const path = this.#path(haul, role);
    const value = (await readJson(path)) as HaulRecord | undefined;
    if (value !== undefined && (value.version !== 1 || value.role !== role || typeof value.phase !== 'string' || typeof value.instance !== 'string' || typeof value.peer?.host !== 'string')) {
      throw new HaulierError('STATE_DAMAGED', { path, reason: 'not a record of a haul' });
    }
    return value;
  }

  /** When its phase was written, milliseconds since 1970; undefined if there is none. */
  async writtenAt(haul: string, role: HaulRecord['role']): Promise<number | undefined> {
    return await stat(this.#path(haul, role)).then(({ mtimeMs }) => mtimeMs, () => undefined);
  }

  /** Durable when it returns. */
  async remove(haul: string, role: HaulRecord['role']): Promise<void> {
    await rm(this.#path(haul, role), { force: true });
    await syncDirectory(this.#folder).catch((error: NodeJS.ErrnoException) => { if (error.code !== 'ENOENT') throw error; });
  }

  /** All of this host's. @param onDamaged told of one that cannot be read, which is left out then @throws STATE_DAMAGED without it */
  async all(onDamaged?: (error: unknown) => void): Promise<HaulRecord[]> {
    const found: HaulRecord[] = [];
    for (const file of await readdir(this.#folder).catch(() => [])) {
      const [, haul, role] = name.exec(file) ?? [];
      if (!haul || !role) continue;
      const record = await this.read(haul, role as HaulRecord['role']).catch((error: unknown) => {
        if (!onDamaged) throw error;
        onDamaged(error);
        return undefined;
      });
      if (record && (this.host === undefined || record.here === undefined || record.here === this.host)) found.push(record);
    }
    return found;
  }

  #path(haul: string, role: HaulRecord['role']): string {
    const file = `${haul}.${role}`;
    if (!name.test(file)) throw new HaulierError('HAUL_PROTOCOL', { reason: `${JSON.stringify(haul.slice(0, 60))} is no name of a haul` });
    return join(this.#folder, file);
  }
}

/** A haul that never came to its offer, where a later one of the same instance did: to let the container go on is not its business any more. */
export function isStale(record: HaulRecord, all: readonly HaulRecord[]): boolean {
  return record.role === 'source' && record.phase === 'preparing' && all.some((other) => other.role === 'source' && other.instance === record.instance && (other.phase === 'offered' || other.phase === 'committed'));
}

/**
 * A haul that came here and whose source was never told that it knows, where the same instance has left since and comes again: what is
 * on this host now is the later haul's. The record stays, for a source that may still ask.
 */
export function isOvertaken(record: HaulRecord, all: readonly HaulRecord[]): boolean {
  return record.role === 'destination' && record.phase === 'committed' && all.some((other) => other.role === 'destination' && other.instance === record.instance && other.phase !== 'committed');
}
