/**
 * A snapshot of a container while it goes on: frozen only for as long as its disk is copied, and its memory if that was asked for.
 *
 * What a disk alone is consistent with: every write(2) that had returned when the guest was frozen is in it, no later one is; what a
 * program still held in its own memory is not. That is what a power cut leaves, less the loss of unwritten caches: a journal or a
 * database recovers from it as from one. With its memory nothing is lost: both are of the same moment.
 */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { HaulierError } from '../../base/errors.js';
import type { Operation } from '../../base/operation.js';
import type { ApplicationConfig } from '../application/config.js';
import { applicationOf } from '../application/process.js';
import { isFrozen } from '../cgroup.js';
import type { Still } from './disk-copy.js';
import { requireDumpable } from '../checkpoint/criu-dump.js';
import { freeze, thaw } from '../checkpoint/freezer.js';
import { settle } from '../checkpoint/in-flight.js';
import { unlockNetwork } from '../checkpoint/ports.js';
import { readKeyRing, type KeyRing } from '../memory-image/keys.js';
import { memoryFormat, neededMiB, type MemoryManifest } from '../memory-image/manifest.js';
import { writeRecords } from '../memory-image/records.js';
import { seal } from '../memory-image/seal.js';
import { cgroupsPath, type HostParts } from '../parts.js';
import type { InstanceState } from '../state.js';
import { archiveImages, type Archive } from './archive.js';
import { memoryPaths } from './disk-copy.js';
import { dumpMemory, linkMemory, snapshotting } from './memory.js';

/** What a snapshot holds beside the disk. */
export interface SnapshotMemory {
  readonly format: number;
  readonly criu: string;
  readonly architecture: string;
  /** Memory that a server needs to go on from it, MiB. */
  readonly memoryMiB: number;
}

/** A snapshot that can be read once. */
export interface DiskSnapshot {
  /** Fit to be an image: a compressed tarball of the root file system, or that and the memory, sealed. Fails if it cannot be made whole. */
  readonly stream: Readable;
  /** A rough guess of its length, for progress. */
  readonly expectedBytes: number;
  /** How long the guest stood still; 0 if it did not run. */
  readonly frozenMs: number;
  /** Undefined: the disk alone. */
  readonly memory: SnapshotMemory | undefined;
  /** What the container runs; undefined: a system with an init of its own. */
  readonly application: ApplicationConfig | undefined;
  /** Ends it and takes everything temporary away; must be called in any case. Idempotent. */
  end(): Promise<void>;
}

/** In the tmpfs: this service has frozen the container, and thaws it again if it should die in between; or it was frozen before. */
const markerName = 'frozen-for-snapshot';
const pausedBefore = 'paused';
/** For criu to cure what it looked into after it was given up. */
const settleMs = 120_000;
const haltedMs = 2000;

/**
 * Takes a snapshot; running, paused, suspended and stopped containers alike.
 * @param image with memory, for the image of this id; a container without processes has none, and the snapshot tells so
 * @throws INSTANCE_NOT_FOUND, INSTANCE_STATE, DISK_FULL, COMMAND_FAILED, SNAPSHOT_KEY, MEMORY_SNAPSHOT_FAILED, the operation's abort reason; the guest goes on as before
 */
export async function snapshotContainer(parts: HostParts, id: string, operation: Operation, image?: string): Promise<DiskSnapshot> {
  const state = await parts.store.readState(id);
  if (!state) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
  if (state.phase !== 'ready') throw new HaulierError('INSTANCE_STATE', { instance: id, state: state.phase, action: 'snapshot' });
  const application = await applicationOf(parts, id);
  if (image !== undefined) return { ...(await withMemory(parts, id, state, operation, image, await readKeyRing(parts.options.snapshotKey))), application };
  return { ...(await ofDisk(parts, id, operation)), memory: undefined, application };
}

async function ofDisk(parts: HostParts, id: string, operation: Operation): Promise<Omit<DiskSnapshot, 'memory' | 'application'>> {
  operation.step('snapshot.copy');
  let frozenMs = 0;
  const archive = await parts.storage.snapshot(id, stillOf(parts, id, operation, (ms) => { frozenMs = ms; }), operation);
  operation.log.info({ frozenMs: Math.round(frozenMs) }, 'snapshot taken');
  return { ...archive, frozenMs };
}

/** How its disk is copied while nothing writes to it. @param told for how long it was frozen, milliseconds */
export function stillOf(parts: HostParts, id: string, operation: Operation, told: (frozenMs: number) => void): Still {
  const run = async (work: () => Promise<void>): Promise<void> => {
    const runs = (await parts.store.running(id)) !== undefined && !(await isFrozen(parts.cgroups, cgroupsPath(parts, id)));
    if (!runs) return await work();
    const began = performance.now();
    await whileFrozen(parts, id, { paused: false, criu: false }, async () => {
      await freeze(parts, id, operation.signal);
      await work();
    });
    told(performance.now() - began);
  };
  return { run, always: false };
}

async function withMemory(parts: HostParts, id: string, state: InstanceState, operation: Operation, image: string, keys: KeyRing): Promise<Omit<DiskSnapshot, 'application'>> {
  const spec = await parts.store.readSpec(id);
  if (!spec) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
  const running = await parts.store.running(id);
  const suspended = state.wanted === 'suspended' && state.suspendedFor !== 'boot';
  if (!running && !suspended) {
    operation.log.warn('the server does not run, so it has no memory: its disk alone is taken');
    return { ...(await ofDisk(parts, id, operation)), memory: undefined };
  }
  const host = running && await snapshotting(() => requireDumpable(parts, id));
  operation.step('snapshot.copy');
  let manifest: MemoryManifest | undefined;
  let frozenMs = 0;
  const run = async (work: () => Promise<void>): Promise<void> => {
    if (!running || !host) {
      manifest = await linkMemory(parts, spec, image);
      return await work();
    }
    const paused = await isFrozen(parts.cgroups, cgroupsPath(parts, id));
    let began = performance.now();
    await whileFrozen(parts, id, { paused, criu: true }, async () => {
      manifest = await dumpMemory(parts, { spec, idBase: state.idBase, image, startedAt: running.startedAt, host }, operation, async () => {
        began = performance.now();
        if (!paused) await freeze(parts, id, operation.signal);
      });
      await work();
    });
    frozenMs = paused ? 0 : performance.now() - began;
  };
  const disk = await parts.storage.snapshot(id, { run, always: true }, operation);
  if (!manifest) throw new Error('a snapshot without its manifest');
  const { checkpoint } = manifest;
  const memory = archiveImages(memoryPaths(parts.store.paths(id).folder).images);
  operation.log.info({ frozenMs: Math.round(frozenMs), bytes: checkpoint.bytes, criu: checkpoint.stats }, 'snapshot taken with its memory');
  return {
    stream: Readable.from(seal(keys[0], writeRecords(manifest, { checkpoint: bytesOf(memory), disk: bytesOf(disk) })), { objectMode: false }),
    expectedBytes: disk.expectedBytes + checkpoint.bytes / 2,
    frozenMs,
    memory: { format: memoryFormat, criu: checkpoint.host.criu, architecture: checkpoint.host.architecture, memoryMiB: neededMiB(manifest) },
    end: async () => {
      await memory.end();
      await disk.end();
    },
  };
}

const bytesOf = ({ stream }: Archive): AsyncIterable<Buffer> => stream as AsyncIterable<Buffer>;

/**
 * Runs `work`, which freezes it, and lets it go on afterwards, unless it was `paused` before.
 * @param criu it may be at work when `work` fails, and its lock may be left
 */
async function whileFrozen(parts: HostParts, id: string, { paused, criu }: { readonly paused: boolean; readonly criu: boolean }, work: () => Promise<void>): Promise<void> {
  const marker = join(parts.store.paths(id).run, markerName);
  await writeFile(marker, paused ? pausedBefore : '', { mode: 0o600 });
  try {
    await work();
  } catch (error) {
    if (criu) await settle(memoryPaths(parts.store.paths(id).folder).folder, error instanceof HaulierError && error.details['halted'] === true ? haltedMs : settleMs);
    await goOn(parts, id, { paused, unlock: criu });
    throw error;
  }
  await goOn(parts, id, { paused, unlock: false });
}

/** Lets the guest go on. One that ended meanwhile (an OOM kill reaches a frozen one too) is none to thaw. */
async function goOn(parts: HostParts, id: string, { paused, unlock }: { readonly paused: boolean; readonly unlock: boolean }): Promise<void> {
  if (await parts.store.running(id)) {
    if (!paused) await thaw(parts, id);
    if (unlock) await unlockNetwork(parts, id);
  }
  await rm(join(parts.store.paths(id).run, markerName), { force: true });
}

/** At the service's start, when the storage has waited for a criu that was at work: a guest that it had frozen when it died goes on. */
export async function thawAfterCrash(parts: HostParts, id: string): Promise<void> {
  const marker = await readFile(join(parts.store.paths(id).run, markerName), 'utf8').catch(() => undefined);
  if (marker === undefined) return;
  parts.log.warn({ instance: id }, 'the service ended while it had frozen this container for a snapshot: thawing it');
  await goOn(parts, id, { paused: marker === pausedBefore, unlock: true });
}
