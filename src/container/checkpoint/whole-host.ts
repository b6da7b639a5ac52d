/** All containers of a host frozen and thawed, for an upgrade of its kernel or runtime without losing a process. */
import { messageOf } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { Operation } from '../../base/operation.js';
import type { LocalContainerHost } from '../local-container-host.js';

/** What became of one container. */
export interface WholeHostResult {
  readonly id: string;
  readonly name: string;
  readonly ok: boolean;
  readonly text: string;
  readonly ms: number;
}

async function one(host: LocalContainerHost, log: Log, id: string, name: string, done: string, work: (operation: Operation) => Promise<void>): Promise<WholeHostResult> {
  const began = performance.now();
  const result = await new Operation({ name: done, log, instance: id }).run(work).then(() => ({ ok: true, text: done }), (error: unknown) => ({ ok: false, text: messageOf(error) }));
  return { id, name, ...result, ms: Math.round(performance.now() - began) };
}

/** Suspends every container that runs, one after the other; one that cannot be is left running and reported. */
export async function freezeHost(host: LocalContainerHost, log: Log, report: (result: WholeHostResult) => void): Promise<void> {
  for (const { id, name, state } of await host.list()) {
    if (state === 'running') report(await one(host, log, id, name, 'frozen', (operation) => host.suspend(id, operation, 'host')));
    else if (state === 'paused') report({ id, name, ok: false, text: 'it is paused: unpause it first', ms: 0 });
  }
}

/** Resumes those that `freezeHost` suspended; one that cannot be stays suspended and is reported. */
export async function thawHost(host: LocalContainerHost, log: Log, report: (result: WholeHostResult) => void): Promise<void> {
  for (const { id, name, state } of await host.list()) {
    if (state !== 'suspended' || (await host.parts.store.readState(id))?.suspendedFor !== 'host') continue;
    report(await one(host, log, id, name, 'thawed', (operation) => host.resume(id, operation)));
  }
}
