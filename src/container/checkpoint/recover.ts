/** At the service's start: suspends and resumes that it died in are given up or finished. */
import { readFile } from 'node:fs/promises';
import { Operation } from '../../base/operation.js';
import { becomeItself } from '../memory-image/identity.js';
import type { HostParts } from '../parts.js';
import { unhushPorts } from '../network/hush.js';
import { identify } from '../process.js';
import { rootFsPaths } from '../storage/root-fs.js';
import { finishSuspend, goOn } from './dump.js';
import { checkpointPaths, readMeta, removeCheckpoint } from './images.js';
import { processesIn, settle } from './in-flight.js';
import { endPageDaemon } from './page-daemon.js';
import { closePorts } from './ports.js';
import { recordResumed, stayOrEnd, wasResumed } from './restore.js';

/** How long criu, left alone by the service that started it, may still take. */
const settleMs = 60_000;
/** One that does nothing for so long hangs: the service must not wait for it before it is ready. */
const idleMs = 5000;

/** With whole images it is suspended, without it runs on; as does one whose crash dump was cut short, which never has a record of whole images. */
export async function recoverSuspend(parts: HostParts, id: string): Promise<void> {
  const paths = checkpointPaths(parts.store.paths(id));
  const spec = await parts.store.readSpec(id);
  if (!spec) return;
  await settle(paths.folder, settleMs, parts.log, idleMs);
  if (await readMeta(paths).catch(() => undefined)) {
    parts.log.warn({ instance: id }, 'a suspend was cut short after its images were whole: finishing it');
    await closePorts(spec.vifs);
    await finishSuspend(parts, spec, new Operation({ name: 'recover_suspend', log: parts.log, instance: id }), (await parts.store.readState(id))?.suspendedFor === 'host' ? 'host' : 'user');
    return;
  }
  parts.log.warn({ instance: id }, 'a dump was cut short: the container goes on');
  await goOn(parts, spec);
}

/** If its processes were let go, it runs, or ran; else it is suspended as before. */
export async function recoverResume(parts: HostParts, id: string): Promise<void> {
  const paths = checkpointPaths(parts.store.paths(id));
  const spec = await parts.store.readSpec(id);
  if (!spec) return;
  await settle(paths.folder, settleMs, parts.log, idleMs);
  const pid = Number(await readFile(parts.store.paths(id).pidFile, 'utf8').catch(() => ''));
  const known = pid > 0 && (await wasResumed(paths)) && identify(pid) ? await parts.runc.state(id) : undefined;
  if (known?.pid === pid && (known.status === 'running' || known.status === 'paused')) {
    parts.log.warn({ instance: id }, 'a resume was cut short after the container ran: recording it');
    const [meta, state] = [await readMeta(paths).catch(() => undefined), await parts.store.readState(id)];
    if (meta?.from && state) await becomeItself(parts, spec, pid, state.idBase, rootFsPaths(parts.store.paths(id).folder).rootfs, meta.from);
    await unhushPorts(spec.vifs, parts.log);
    await recordResumed(parts, id, pid, meta?.startedAt);
    return;
  }
  parts.log.warn({ instance: id }, 'a resume was cut short, taking its rest away');
  await stayOrEnd(parts, spec, paths);
}

/** Images that nobody needs any more: the service died between a record and their removal. Those of a container that runs are the `PageKeeper`'s. */
export async function dropStaleImages(parts: HostParts, id: string): Promise<void> {
  const paths = checkpointPaths(parts.store.paths(id));
  if (await parts.store.running(id)) return;
  await endPageDaemon(paths);
  if ((await processesIn(paths.folder)).length === 0) await removeCheckpoint(paths);
}
