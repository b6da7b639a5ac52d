/** A service that does one thing and may be killed at a fault point: `fault-child.js OPTIONS SPEC ACTION [FILE]` (JSON, JSON, word, an image's file named by its id). */
import { createWriteStream } from 'node:fs';
import { basename } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { ContainerHostOptions } from '../../../src/container/container-host.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { log, operate } from './harness.js';
import { imageFile } from './memory-kit.js';

const [options, spec] = process.argv.slice(2, 4).map((text) => JSON.parse(text) as unknown) as [ContainerHostOptions, ContainerSpec];
const file = process.argv[5] ?? '';
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
  snapshotMemory: async () => {
    const snapshot = await operate((operation) => host.snapshot(spec.id, operation, basename(file)));
    await pipeline(snapshot.stream, createWriteStream(file));
    await snapshot.end();
  },
  bootMemory: async () => {
    const image = await imageFile(file, basename(file));
    await operate((operation) => host.ensureImage(image, operation));
    await operate(async (operation) => {
      await host.create(spec, operation);
      await host.startContainer(spec.id, operation);
    });
  },
  crashdump: () => operate(async (operation) => void (await host.crashDump(spec.id, operation))),
  destroy: () => operate((operation) => host.destroy(spec.id, operation)),
};
await actions[process.argv[4] ?? '']?.();
process.exit(0);
