/** What a host remembers of its hauls: `<instances_path>/_hauls/<haul>.<role>`, durable before the step that it stands for is taken. */
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readJson, syncDirectory, writeJsonAtomic } from '../../base/atomic.js';
import { HaulierError } from '../../base/errors.js';
import type { Peer } from '../client.js';
import type { DestinationPhase, SourcePhase } from './protocol.js';

interface Common {
  readonly version: 1;
  readonly haul: string;
  readonly instance: string;
  /** The other host. */
  readonly peer: Peer;
  /** With it the source asks what became of the haul. */
  readonly secret: string;
}

/** The record of one side. */
export type HaulRecord =
  | (Common & { readonly role: 'source'; readonly phase: SourcePhase })
  | (Common & { readonly role: 'destination'; readonly phase: DestinationPhase; /** It was paused, and stays so. */ readonly paused?: boolean });

const name = /^([0-9a-f-]{36})\.(source|destination)$/;

/** The records of one host. */
export class HaulRecords {
  readonly #folder: string;

  constructor(instancesPath: string) {
    this.#folder = join(instancesPath, '_hauls');
  }

  async write(record: HaulRecord): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    await writeJsonAtomic(this.#path(record.haul, record.role), record);
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

  /** Durable when it returns. */
  async remove(haul: string, role: HaulRecord['role']): Promise<void> {
    await rm(this.#path(haul, role), { force: true });
    await syncDirectory(this.#folder).catch((error: NodeJS.ErrnoException) => { if (error.code !== 'ENOENT') throw error; });
  }

  /** All of them. @throws STATE_DAMAGED */
  async all(): Promise<HaulRecord[]> {
    const found: HaulRecord[] = [];
    for (const file of await readdir(this.#folder).catch(() => [])) {
      const [, haul, role] = name.exec(file) ?? [];
      const record = haul && role ? await this.read(haul, role as HaulRecord['role']) : undefined;
      if (record) found.push(record);
    }
    return found;
  }

  #path(haul: string, role: HaulRecord['role']): string {
    const file = `${haul}.${role}`;
    if (!name.test(file)) throw new HaulierError('HAUL_PROTOCOL', { reason: `${JSON.stringify(haul.slice(0, 60))} is no name of a haul` });
    return join(this.#folder, file);
  }
}
