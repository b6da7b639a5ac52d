/** A container's memory as part of its snapshot: dumped by criu in the moment in which its disk is copied, or taken from a suspend. */
import { link } from 'node:fs/promises';
import { join } from 'node:path';
import { HaulierError, isHaulierError } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import type { Operation } from '../../base/operation.js';
import { run } from '../../base/run.js';
import { noteGroups } from '../checkpoint/cgroup-groups.js';
import { criuDump, describeDump, memoryBytes, requireSpace } from '../checkpoint/criu-dump.js';
import type { HostFacts } from '../checkpoint/facts.js';
import { checkFiles, checkpointPaths, makeCheckpointFolders, readMeta, type CheckpointMeta } from '../checkpoint/images.js';
import { chooseNetworkLock } from '../checkpoint/network-lock.js';
import { memoryFormat, type FormerAddress, type MemoryManifest } from '../memory-image/manifest.js';
import { cgroupsPath, type HostParts } from '../parts.js';
import { keptConfigDrive } from '../boot-data/config-drive.js';
import type { ContainerSpec } from '../spec.js';
import { memoryPaths } from './disk-copy.js';

/** Fault points of a snapshot's memory, in order. */
export const memoryFaultPoints = ['snapshot.memory.freeze', 'snapshot.memory.dump', 'snapshot.memory.dumped'] as const;

/** What a dump of a running container is prepared with, before it is frozen. */
export interface DumpPlan {
  readonly spec: ContainerSpec;
  readonly idBase: number;
  readonly image: string;
  readonly startedAt: string | undefined;
  readonly host: HostFacts;
}

/** The words of a failed dump are those of a suspend: here it was a snapshot. */
function asSnapshotFailure(error: unknown): unknown {
  return isHaulierError(error, 'SUSPEND_FAILED') ? new HaulierError('MEMORY_SNAPSHOT_FAILED', { reason: String(error.details['reason']), halted: error.details['halted'] }, { cause: error }) : error;
}

/** Runs `work`, with failures told as those of a snapshot. */
export async function snapshotting<T>(work: () => Promise<T>): Promise<T> {
  return await work().catch((error: unknown) => { throw asSnapshotFailure(error); });
}

/**
 * Dumps a running container's memory beside the copy of its disk; it is left frozen.
 * @param freeze makes it stand still
 * @throws MEMORY_SNAPSHOT_FAILED, DISK_FULL
 */
export async function dumpMemory(parts: HostParts, plan: DumpPlan, operation: Operation, freeze: () => Promise<void>): Promise<MemoryManifest> {
  const { spec } = plan;
  const paths = memoryPaths(parts.store.paths(spec.id).folder);
  await makeCheckpointFolders(paths);
  await requireSpace(parts, spec.id, paths.folder);
  const [addresses, resident] = await Promise.all([addressesOf(parts, spec.id), memoryBytes(parts, spec.id)]);
  faultPoint('snapshot.memory.freeze');
  await freeze();
  const groups = await noteGroups(parts.cgroups, cgroupsPath(parts, spec.id), plan.idBase);
  operation.step('snapshot.memory');
  faultPoint('snapshot.memory.dump');
  await chooseNetworkLock(parts, spec.id, false);
  await snapshotting(() => criuDump(parts, spec.id, paths, operation.signal));
  faultPoint('snapshot.memory.dumped');
  const checkpoint = await describeDump(paths, { host: plan.host, groups, startedAt: plan.startedAt, watchdogSeconds: undefined }); // its clones are never resumed lazily
  return manifest(parts, plan.image, spec.id, addresses, Math.max(resident, checkpoint.bytes), checkpoint);
}

/** A suspended container has been dumped already: its images get second names, so that a resume may take the first ones away. */
export async function linkMemory(parts: HostParts, spec: ContainerSpec, image: string): Promise<MemoryManifest> {
  const { folder } = parts.store.paths(spec.id);
  const source = checkpointPaths({ folder });
  const paths = memoryPaths(folder);
  const meta = await readMeta(source);
  if (!meta) throw new HaulierError('MEMORY_SNAPSHOT_FAILED', { reason: `there are no whole images in ${source.folder}` });
  await checkFiles(source, meta);
  await makeCheckpointFolders(paths);
  for (const name of Object.keys(meta.files)) await link(join(source.images, name), join(paths.images, name));
  const addresses = spec.vifs.flatMap((vif) => vif.addresses.map(({ address }) => ({ address, scope: 'global' })));
  return manifest(parts, image, spec.id, addresses, meta.bytes, meta);
}

function manifest(parts: HostParts, image: string, instance: string, addresses: readonly FormerAddress[], bytes: number, checkpoint: CheckpointMeta): MemoryManifest {
  return { version: memoryFormat, image, instance, addresses, configDrive: keptConfigDrive(parts.store.paths(instance)), memoryBytes: bytes, checkpoint };
}

/** Its addresses, but those of loopback: sockets may be bound to them. */
async function addressesOf(parts: HostParts, id: string): Promise<FormerAddress[]> {
  const running = await parts.store.running(id);
  if (!running) throw new HaulierError('INSTANCE_STATE', { instance: id, state: 'stopped', action: 'snapshot' });
  const { stdout } = await run('nsenter', [`--net=/proc/${running.pid}/ns/net`, 'ip', '-json', 'address', 'show']);
  const devices = JSON.parse(stdout || '[]') as { readonly addr_info?: readonly { readonly local?: string; readonly scope?: string }[] }[];
  return devices.flatMap(({ addr_info }) => (addr_info ?? []).flatMap(({ local, scope }) => (local && scope && scope !== 'host' ? [{ address: local, scope }] : [])));
}
