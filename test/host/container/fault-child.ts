/** A service that does one thing and may be killed at a fault point: `fault-child.js OPTIONS SPEC ACTION` (JSON, JSON, word). */
import type { ContainerHostOptions } from '../../../src/container/container-host.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { log, operate } from './harness.js';

const [options, spec] = process.argv.slice(2, 4).map((text) => JSON.parse(text) as unknown) as [ContainerHostOptions, ContainerSpec];
const host = new LocalContainerHost(options, log);
await host.start();
const actions: Readonly<Record<string, () => Promise<void>>> = {
  create: () => operate((operation) => host.create(spec, operation)),
  start: () => operate((operation) => host.startContainer(spec.id, operation)),
  stop: () => operate((operation) => host.stopContainer(spec.id, { timeoutMs: 300, retryMs: 200 }, operation)),
  suspend: () => operate((operation) => host.suspend(spec.id, operation)),
  resume: () => operate((operation) => host.resume(spec.id, operation)),
  'quiesce-and-die': async () => {
    await operate((operation) => host.quiesce(spec.id, true, operation));
    process.kill(process.pid, 'SIGKILL');
  },
  crashdump: () => operate(async (operation) => void (await host.crashDump(spec.id, operation))),
  destroy: () => operate((operation) => host.destroy(spec.id, operation)),
};
await actions[process.argv[4] ?? '']?.();
process.exit(0);
