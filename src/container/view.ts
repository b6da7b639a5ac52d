/** How the host sees a container, from its files and /proc alone: no runtime is started for a look. */
import { HaulierError } from '../base/errors.js';
import type { ContainerState, ContainerView } from './spec.js';
import { isFrozen } from './cgroup.js';
import { cgroupsPath, type HostParts } from './parts.js';
import { classifyExit } from './runtime/exits.js';
import { isAnothers, type ExitRecord, type InstanceState } from './state.js';

/** State of a container that does not run: what its last end means. */
export function restingState(exit: ExitRecord | undefined): ContainerState {
  return exit && !exit.wanted ? classifyExit(exit.code).state : 'stopped';
}

/** @returns state `missing` for an unknown id, and for another host's in a shared folder; a damaged file is logged, and what the other files say is shown */
export async function viewContainer(parts: Pick<HostParts, 'options' | 'store' | 'cgroups' | 'log'>, id: string): Promise<ContainerView> {
  const { store, log } = parts;
  const none = { id, name: '', state: 'missing', pid: undefined, exitCode: undefined, startedAt: undefined } as const;
  if (!(await store.exists(id))) return none;
  const report = (error: unknown): undefined => {
    log.error({ err: error, instance: id }, 'damaged file in the instance directory');
    return undefined;
  };
  const [state, spec, running] = await Promise.all([store.readState(id).catch(report), store.readSpec(id).catch(report), store.running(id).catch(report)]);
  if (isAnothers(state, store.host)) return none;
  const name = spec?.name ?? '';
  if (running && state?.phase !== 'starting' && state?.phase !== 'creating') {
    const paused = await isFrozen(parts.cgroups, cgroupsPath(parts, id));
    return { id, name, state: paused ? 'paused' : 'running', pid: running.pid, exitCode: undefined, startedAt: running.startedAt };
  }
  if (state?.wanted === 'suspended' && state.suspendedFor !== 'boot') return { id, name, state: 'suspended', pid: undefined, exitCode: undefined, startedAt: state.startedAt };
  const exit = state?.exit ?? (await unseenExit(parts, id, state));
  return { id, name, state: restingState(exit), pid: undefined, exitCode: exit?.code, startedAt: state?.startedAt };
}

/** A container that ended a moment ago, before its exit file was handled, counts as crashed until that says otherwise. */
async function unseenExit(parts: Pick<HostParts, 'store'>, id: string, state: InstanceState | undefined): Promise<ExitRecord | undefined> {
  if (!state || state.wanted === 'stopped' || !(await parts.store.lastRunning(id))) return undefined;
  return { code: 255, at: '', wanted: false };
}

/** As `viewContainer`, of one that must be here. @throws INSTANCE_NOT_FOUND */
export async function existing(parts: Parameters<typeof viewContainer>[0], id: string): Promise<ContainerView> {
  const view = await viewContainer(parts, id);
  if (view.state === 'missing') throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
  return view;
}
