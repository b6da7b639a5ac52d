/**
 * An operator's word on a haul whose destination does not say what became of it (`haulier haul decide`). The haul's own records know
 * only the two hosts; Nova may know more, and what it knows comes before a word that lets the container go on here.
 */
import type { Compute } from '../compute.js';
import { HaulierError, messageOf } from '../../base/errors.js';
import type { Outcome } from '../../haul/live/doubt.js';
import { adminContext } from '../../nova/context.js';
import { storedInstance } from '../moves/migration.js';
import { rebuildTasks } from './evacuations.js';

/**
 * What becomes of server and migration afterwards is the live migration's own work, as after an answer of the destination: taken back
 * (`here`), or completed (`there`).
 * @param decide carries it out
 * @throws HAUL_NO_DECISION for `aborted` where Nova has the server on another host, where it is being evacuated, or where Nova cannot be asked; what `decide` throws
 */
export async function decideHaul(compute: Compute, instance: string, outcome: Outcome, decide: () => Promise<void>): Promise<void> {
  if (outcome === 'aborted') await requireOurs(compute, instance);
  await decide();
}

async function requireOurs(compute: Compute, instance: string): Promise<void> {
  const refuse = (reason: string, cause?: unknown): HaulierError => new HaulierError('HAUL_NO_DECISION', { instance, reason }, { cause });
  const stored = await storedInstance(compute, adminContext(), instance).catch((error: unknown) => {
    throw refuse(`Nova cannot be asked on which host the server is: ${messageOf(error)}`, error);
  });
  const host = stored?.text('host');
  if (host !== undefined && host !== compute.settings.host) throw refuse(`Nova has the server on ${host}: it runs there, or has run there since`);
  if (rebuildTasks.has(stored?.text('task_state') ?? '')) throw refuse('the server is being evacuated: another host makes it already');
}
