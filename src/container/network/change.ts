/**
 * Ports that come and go while the container is there. What its next start, resume or haul plugs is `spec.json`; so that is written
 * first, and what a service that dies in between leaves is at most a port that is plugged and in no spec, which the container's end unplugs.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { HaulierError, isHaulierError } from '../../base/errors.js';
import { run } from '../../base/run.js';
import type { HostParts } from '../parts.js';
import type { RouteSpec, VifSpec } from '../spec.js';
import { keepNames } from './guest-devices.js';
import { hookScript, routeLine, writeHookFiles } from './hook-files.js';
import { deviceExists } from './ip.js';
import { checkVif } from './plug.js';
import { parkedDevice } from './veth.js';

type Parts = Pick<HostParts, 'store' | 'plugger' | 'options'>;

const missingIn = (vifs: readonly VifSpec[], others: readonly VifSpec[]): VifSpec[] => vifs.filter(({ id }) => !others.some((other) => other.id === id));
const sameRoute = (a: RouteSpec, b: RouteSpec): boolean => a.destination === b.destination && a.gateway === b.gateway;

/**
 * Gives a container these ports and no others. In one that runs or is paused, new ones are plugged and configured as at its start, those that are gone
 * are taken out, and routes that another port has now are set; in any other one, at its next start or resume. Idempotent.
 * @throws INSTANCE_NOT_FOUND; VIF_PLUG_FAILED: the spec has the new ports, call it again with the former ones
 */
export async function changePorts(parts: Parts, id: string, wanted: readonly VifSpec[], signal?: AbortSignal): Promise<void> {
  const spec = await parts.store.readSpec(id);
  if (!spec) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
  const vifs = keepNames(wanted, spec.vifs);
  vifs.forEach(checkVif);
  await parts.store.writeSpec({ ...spec, vifs });
  const former = [...new Map([...(await parts.plugger.plugged(id)), ...spec.vifs].map((vif) => [vif.id, vif])).values()]; // also what an earlier try has left
  for (const vif of missingIn(former, vifs)) await parts.plugger.unplug(id, vif);
  const running = await parts.store.running(id);
  if (!running) return;
  for (const vif of vifs) if (!deviceExists(vif.hostDevice) || deviceExists(parkedDevice(vif))) await parts.plugger.plug(id, vif, true, signal);
  const routes = vifs.flatMap((vif) => {
    const before = spec.vifs.find((other) => other.id === vif.id);
    return before ? vif.routes.filter((route) => !before.routes.some((other) => sameRoute(route, other))).map((route) => routeLine(vif, route)) : [];
  });
  await bringIn(parts, id, running.pid, vifs.filter((vif) => deviceExists(parkedDevice(vif))), routes);
}

/** Moves the waiting guest ends into the network namespace of a running container, with the hook of its start. */
async function bringIn(parts: Parts, id: string, pid: number, vifs: readonly VifSpec[], lines: readonly string[]): Promise<void> {
  if (vifs.length === 0 && lines.length === 0) return;
  const folder = join(parts.store.paths(id).run, 'attach');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  try {
    await writeHookFiles(folder, vifs, parts.options.networkMtu, { lines, knobs: [] });
    await run('sh', [hookScript, folder], { input: JSON.stringify({ pid }) });
  } catch (error) {
    if (!isHaulierError(error, 'COMMAND_FAILED', 'COMMAND_TIMEOUT')) throw error;
    throw new HaulierError('VIF_PLUG_FAILED', { reason: error.message }, { cause: error });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
