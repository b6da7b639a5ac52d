/** The part of the density benchmark that runs inside a host: makes and removes containers, some at once, and says how long each took. */
import { BareContainers } from './lib/bare-containers.js';
import { obeyEach } from './lib/inside.js';
import { StandaloneServers } from './lib/standalone-servers.js';

/** What it is told. `page`: the service's metrics. */
export type DensityCommand =
  | { readonly do: 'prepare'; readonly kind: 'bare' | 'service' }
  | { readonly do: 'boot' | 'remove'; readonly count: number; readonly atOnce: number }
  | { readonly do: 'alive' | 'page' };

/** What it says of a `boot` or a `remove`. */
export interface Wave {
  readonly count: number;
  /** Of all together. */
  readonly seconds: number;
  /** Of each. */
  readonly ms: readonly number[];
}

let containers: BareContainers | StandaloneServers | undefined;

async function wave(count: number, atOnce: number, one: () => Promise<number | undefined>): Promise<Wave> {
  const began = performance.now();
  const ms: number[] = [];
  let left = count;
  await Promise.all(Array.from({ length: atOnce }, async () => {
    while (left-- > 0) {
      const took = await one();
      if (took !== undefined) ms.push(took);
    }
  }));
  return { count: ms.length, seconds: (performance.now() - began) / 1000, ms };
}

async function obey(command: DensityCommand): Promise<unknown> {
  if (command.do === 'page') return await (await fetch('http://127.0.0.1:8790/metrics')).text();
  if (command.do === 'prepare') {
    containers = command.kind === 'bare' ? new BareContainers() : await StandaloneServers.prepare();
    return containers instanceof BareContainers ? await containers.prepare() : undefined;
  }
  const all = containers;
  if (!all) throw new Error('not prepared');
  switch (command.do) {
    case 'alive': return await all.alive();
    case 'boot': return await wave(command.count, command.atOnce, () => all.boot());
    case 'remove': return await wave(command.count, command.atOnce, () => all.remove());
  }
}

await obeyEach(obey);
