/** What this host can do for the memory of a haul. */
import { lazyDumpProblem, lazyProblem, trackingProblem } from '../../container/checkpoint/lazy.js';
import type { ContainerHostOptions } from '../../container/container-host.js';
import { readHostFacts } from '../../container/checkpoint/facts.js';
import { headerBytesOf } from './page-protocol.js';
import { permitsPostCopy, type HaulPolicy, type MemoryAbilities } from './mode.js';

/** Asks the kernel and criu; criu once. */
export async function readMemoryAbilities(options: Pick<ContainerHostOptions, 'criu' | 'runc'>, policy: HaulPolicy): Promise<MemoryAbilities> {
  const [tracking, serving, taking, { criu }] = await Promise.all([trackingProblem(options), lazyDumpProblem(options), lazyProblem(options), readHostFacts(options)]);
  return {
    tracksDirty: tracking ?? null,
    servesPages: serving ?? null,
    takesPages: permitsPostCopy(policy) ? taking ?? null : 'it is not permitted (haul_permit_post_copy)',
    pageHeader: headerBytesOf(criu),
  };
}
