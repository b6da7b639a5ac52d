/** Starts a container: tree, ports, bundle, runtime; in that order, undone in the other if anything fails. */
import { existsSync } from 'node:fs';
import { chmod, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile } from '../base/atomic.js';
import { HaulierError, messageOf } from '../base/errors.js';
import type { Operation } from '../base/operation.js';
import { together } from '../base/together.js';
import { untilAborted } from '../base/together.js';
import type { ApplicationConfig } from './application/config.js';
import { placeInit } from './application/init.js';
import { applicationOf, applicationProcess } from './application/process.js';
import { driveMountPoint, keptConfigDrive, showConfigDrive } from './boot-data/config-drive.js';
import { cgroupMountPoint, delegateCgroups, removeCgroups } from './cgroup.js';
import { withRoomForCriu } from './checkpoint/pids-limit.js';
import { criuConfig, imageCriuConfig } from './checkpoint/criu-options.js';
import type { CheckpointOrigin } from './checkpoint/images.js';
import { removeRuntime } from './cleanup.js';
import { figuresRoot, findLxcfs } from './figures/lxcfs.js';
import { rotateConsole } from './console.js';
import { writeGuestFiles } from './guest-files.js';
import { makeFolderInside, resolveInside } from './guest-tree.js';
import { hookScript, writeHookFiles } from './network/hook-files.js';
import { restoreOnly, restoreOnlyKnobs } from './network/restore-only.js';
import { systemdConf } from './oci/mounts.js';
import { defaultInit, ociConfig } from './oci/spec.js';
import { cgroupsPath, type HostParts } from './parts.js';
import { keptFolder } from './kept-folder.js';
import { rootFsPaths } from './storage/root-fs.js';
import { identify } from './process.js';
import { startMonitor, type MonitorOptions } from './runtime/conmon.js';
import type { Readiness } from './container-host.js';
import type { ContainerSpec } from './spec.js';
import type { InstanceState } from './state.js';
import { beginStep } from './steps.js';

/**
 * Starts it. Does nothing if it runs already.
 * @param ready awaited between create and start: PID 1 runs only then. A function is called when all else is done
 * @throws INSTANCE_NOT_FOUND, INSTANCE_STATE, IMAGE_UNACCEPTABLE (no init), VIF_PLUG_FAILED, RUNTIME_FAILED
 */
export async function startContainer(parts: HostParts, id: string, operation: Operation, ready: Readiness | undefined): Promise<void> {
  const { store } = parts;
  if (typeof ready === 'object') ready.catch(() => undefined); // awaited below, maybe long after it failed
  const [spec, state] = await Promise.all([store.readSpec(id), store.readState(id)]);
  if (!spec || !state) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
  if (state.phase === 'creating' || state.phase === 'removing') throw new HaulierError('INSTANCE_STATE', { instance: id, state: state.phase, action: 'start' });
  if (state.phase === 'ready' && (await store.running(id))) return;
  if (state.wanted === 'suspended') throw new HaulierError('INSTANCE_STATE', { instance: id, state: 'suspended', action: 'start' }); // to resume it, or to stop it first

  beginStep(operation, 'container.start.record');
  if (state.phase === 'starting' || existsSync(join(parts.runc.root, id))) await removeRuntime(parts, id, { inFlight: state.phase === 'starting' });
  await store.update(id, { phase: 'starting', wanted: 'stopped', exit: undefined });
  try {
    await bringUp(parts, await withFigures(parts, spec), state, operation, ready);
  } catch (error) {
    await takeDown(parts, spec, operation);
    throw error;
  }
}

async function bringUp(parts: HostParts, spec: ContainerSpec, state: InstanceState, operation: Operation, ready: Readiness | undefined): Promise<void> {
  const { store, storage, plugger, runc } = parts;
  const paths = store.paths(spec.id);
  const plugAll = async (): Promise<void> => {
    beginStep(operation, 'container.start.plug');
    for (const vif of spec.vifs) await plugger.plug(spec.id, vif, false, operation.signal);
  };
  beginStep(operation, 'container.start.mount');
  const [rootfs] = await together(storage.mount(spec.id, state.idBase), plugAll());
  const application = await applicationOf(parts, spec.id);
  if (!application) await requireInit(spec, rootfs);
  if (!state.guestFiles) {
    await writeGuestFiles(spec, rootfs, state.idBase, operation.log);
    await makeFolderInside(rootfs, cgroupMountPoint, { uid: state.idBase, gid: state.idBase }); // now: a restore needs it, and the disk may be full then
    await store.update(spec.id, { guestFiles: true });
  }

  if (keptConfigDrive(paths)) await makeFolderInside(rootfs, [driveMountPoint.slice(1)], { uid: state.idBase, gid: state.idBase });

  beginStep(operation, 'container.start.bundle');
  await writeBundle(parts, spec, state.idBase, rootfs, { application });
  await removeCgroups(parts.cgroups, cgroupsPath(parts, spec.id));
  await rotateConsole(paths.console, parts.options.consoleLogBytes);
  await rm(join(parts.exitFolder, spec.id), { force: true });

  beginStep(operation, 'container.start.monitor');
  const pid = await startMonitor(parts.options.conmon, runc, monitorOptions(parts, spec), operation.signal);
  const process = identify(pid);
  if (!process) throw new HaulierError('RUNTIME_FAILED', { action: 'create the container', reason: 'it ended before it was started' });
  const startedAt = new Date().toISOString();
  await store.writeRunning(spec.id, process, startedAt);

  beginStep(operation, 'container.start.delegate');
  await delegateCgroups(parts.cgroups, cgroupsPath(parts, spec.id), state.idBase);
  beginStep(operation, 'container.start.ready');
  if (ready) await untilAborted(typeof ready === 'function' ? ready() : ready, operation.signal);
  beginStep(operation, 'container.start.run');
  await runc.start(spec.id, operation.signal);
  beginStep(operation, 'container.start.recorded');
  await store.update(spec.id, { phase: 'ready', wanted: 'running', startedAt });
  beginStep(operation, 'container.start.done');
}

/** Its own figures, from this start on, if there is somebody who gives them. */
async function withFigures(parts: HostParts, spec: ContainerSpec): Promise<ContainerSpec> {
  const figures = typeof (await findLxcfs(parts.options)) !== 'string';
  if ((spec.figures ?? false) === figures) return spec;
  const changed = { ...spec, figures };
  await parts.store.writeSpec(changed);
  return changed;
}

/** After a failure: nothing of it runs, its ports are gone, its tree is unmounted. Never throws. */
async function takeDown(parts: HostParts, spec: ContainerSpec, operation: Operation): Promise<void> {
  const steps: readonly (readonly [string, () => Promise<unknown>])[] = [
    ['remove its runtime', () => removeRuntime(parts, spec.id, { inFlight: true })],
    ['unplug its ports', () => parts.plugger.unplugAll(spec.id, spec.vifs)],
    ['unmount its tree', () => parts.storage.unmount(spec.id)],
    ['record it', () => parts.store.update(spec.id, { phase: 'ready', wanted: 'stopped' })],
  ];
  for (const [what, work] of steps) {
    try {
      await work();
    } catch (error) {
      operation.log.error({ err: error }, `after a failed start of ${spec.id}: cannot ${what}: ${messageOf(error)}`);
    }
  }
}

/** @throws IMAGE_UNACCEPTABLE if there is nothing to run as PID 1 */
async function requireInit(spec: ContainerSpec, rootfs: string): Promise<void> {
  const init = spec.init?.[0] ?? defaultInit;
  if (init.startsWith('/') && !(await resolveInside(rootfs, init))) {
    throw new HaulierError('IMAGE_UNACCEPTABLE', { image: spec.imageId, reason: `it has no ${init}, and a server needs an init system` });
  }
}

/**
 * Writes `config.json`, the hook's batch files and systemd's drop-in; all anew at every start, so nobody waits for the disk.
 * @param about.restored its processes come from memory, maybe that of another container; `recordResumed` takes the room for criu's own back
 * @throws IMAGE_UNACCEPTABLE if it has not what it is to run
 */
export async function writeBundle(parts: HostParts, spec: ContainerSpec, idBase: number, rootfs: string, about: { readonly application: ApplicationConfig | undefined; readonly restored?: { readonly from: CheckpointOrigin | undefined } }): Promise<void> {
  const paths = parts.store.paths(spec.id);
  const { application, restored } = about;
  const from = restored?.from;
  await parts.store.makeFolders(spec.id);
  if (application) await placeInit(parts.options.instancesPath, paths.init, restored !== undefined);
  const first = application ? { ...(await applicationProcess(spec.imageId, application, rootfs, idBase, restored === undefined)), initFolder: paths.init } : undefined;
  const configDriveFolder = await showConfigDrive(paths, idBase);
  const dropIn = join(paths.systemdConf, '50-haulier.conf');
  await Promise.all([
    writeHookFiles(paths.network, spec.vifs, parts.options.networkMtu, from && { lines: restoreOnly(spec.vifs, from.addresses), knobs: restoreOnlyKnobs(spec.vifs, from.addresses) }),
    replaceFile(paths.criuConfig, from ? imageCriuConfig(parts.cgroups, cgroupsPath(parts, spec.id)) : criuConfig),
    replaceFile(dropIn, systemdConf, 0o644).then(() => chmod(dropIn, 0o644)),
    replaceFile(paths.config, JSON.stringify(ociConfig(restored ? withRoomForCriu(spec) : spec, {
      idBase,
      rootfs,
      cgroupsPath: cgroupsPath(parts, spec.id),
      pureCgroup2: parts.cgroups.pureCgroup2,
      swapLimits: parts.cgroups.swapLimits,
      arch: process.arch,
      maxOpenFiles: parts.maxOpenFiles,
      systemdConfFolder: paths.systemdConf,
      ...(first ? { application: first } : {}),
      configDriveFolder,
      ...(spec.figures ? { figuresRoot: await figuresRoot(parts.options) } : {}),
      ...(spec.rescue ? { rescuedRoot: rootFsPaths(keptFolder(parts, spec.id)).rootfs } : {}),
      criuConfig: paths.criuConfig,
      hook: { script: hookScript, folder: paths.network },
    }), undefined, 1) + '\n'),
  ]);
}

/** How this container's monitor is started; `restore` is added by whoever restores. */
export function monitorOptions(parts: HostParts, spec: Pick<ContainerSpec, 'id' | 'name'>): MonitorOptions {
  const paths = parts.store.paths(spec.id);
  return {
    id: spec.id,
    name: spec.name,
    bundle: paths.bundle,
    console: paths.console,
    consoleBytes: parts.options.consoleLogBytes,
    exitFolder: parts.exitFolder,
    runFolder: paths.run,
    pidFile: paths.pidFile,
    conmonPidFile: paths.conmonPidFile,
    conmonLog: paths.conmonLog,
  };
}
