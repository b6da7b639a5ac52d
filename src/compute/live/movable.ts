/** Why a server of this host could not be live-migrated, as far as this host alone can know. */
import type { ContainerSpec, ContainerView } from '../../container/spec.js';
import type { Verdict } from '../../container/verdict/verdict.js';

/** @param verdict undefined where it does not run @returns reasons in plain words; empty if nothing stands in its way */
export function whyNotMovable(host: string, { state }: Pick<ContainerView, 'state'>, spec: ContainerSpec | undefined, verdict: Verdict | undefined): string[] {
  if ((state !== 'running' && state !== 'paused') || !spec || !verdict) return [`the server is ${state} on ${host}, neither running nor paused`];
  const reasons = verdict.findings.filter(({ effect, passing }) => effect !== 'loses' && !passing).map(({ text }) => text);
  return reasons.length > 0 ? [`the server cannot be frozen: ${reasons.join('; ')}`] : [];
}
