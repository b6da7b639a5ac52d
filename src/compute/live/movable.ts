/** Why a server of this host could not be live-migrated, as far as this host alone can know. */
import type { ContainerSpec, ContainerView } from '../../container/spec.js';
import { obstacles, type Verdict } from '../../container/verdict/verdict.js';

/**
 * @param verdict undefined where it does not run
 * @param permitRestart one that criu would refuse may be stopped and started anew, if it runs
 * @returns reasons in plain words; empty if nothing stands in its way
 */
export function whyNotMovable(host: string, { state }: Pick<ContainerView, 'state'>, spec: ContainerSpec | undefined, verdict: Verdict | undefined, permitRestart: boolean): string[] {
  if ((state !== 'running' && state !== 'paused') || !spec || !verdict) return [`the server is ${state} on ${host}, neither running nor paused`];
  const reasons = obstacles(verdict);
  if (reasons.length === 0 || (permitRestart && state === 'running')) return [];
  return [`the server cannot be frozen: ${reasons.join('; ')}${permitRestart ? ' (and it is paused: it cannot be shut down and booted instead)' : ''}`];
}
