/** One host's service, as far as hauls need it: `agent.js OPTIONS SETTINGS` (JSON). Takes a command a line, answers each with a line. */
import { createInterface } from 'node:readline';
import { messageOf } from '../../../src/base/errors.js';
import { Operation } from '../../../src/base/operation.js';
import type { ContainerHostOptions } from '../../../src/container/container-host.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { Hauler } from '../../../src/haul/hauler.js';
import type { Peer } from '../../../src/haul/client.js';
import type { HaulSettings } from '../../../src/haul/settings.js';
import { log } from '../container/harness.js';
import { createReadStream } from 'node:fs';

/** A command. */
export interface Command {
  readonly n: number;
  readonly do: 'create' | 'start' | 'expect' | 'haul' | 'view' | 'destroy' | 'image' | 'list' | 'stop';
  readonly id: string;
  readonly spec?: ContainerSpec;
  readonly peer?: Peer;
  readonly token?: string;
  readonly image?: { readonly id: string; readonly file: string; readonly checksum: { readonly algorithm: string; readonly value: string } };
}

const [options, settings] = process.argv.slice(2, 4).map((text) => JSON.parse(text) as unknown) as [ContainerHostOptions, HaulSettings];
const host = new LocalContainerHost(options, log);
await host.start();
const hauler = new Hauler(host.parts, settings, (id) => host.watch(id), log);
await hauler.start();
await hauler.listen();
const say = (answer: object): void => void process.stdout.write(`${JSON.stringify(answer)}\n`);
const run = async <T>(name: string, work: (operation: Operation) => Promise<T>): Promise<T> => await new Operation({ name, log }).run(work);

async function act(command: Command): Promise<unknown> {
  const { id, spec, peer, token, image } = command;
  switch (command.do) {
    case 'image': return await run('image', (operation) => host.ensureImage({ id: image!.id, checksum: image!.checksum, size: undefined, diskFormat: 'raw', containerFormat: 'bare', open: async () => createReadStream(image!.file) }, operation));
    case 'create': return await run('create', (operation) => host.create(spec!, operation));
    case 'start': return await run('start', (operation) => host.startContainer(id, operation));
    case 'expect': return hauler.expect({ instance: id, peer: peer!, ttlMs: 60_000 }).token;
    case 'haul': return await run('haul', (operation) => hauler.haul(id, peer!, token!, operation));
    case 'view': return await host.view(id);
    case 'list': return await host.list();
    case 'destroy': return await run('destroy', (operation) => host.destroy(id, operation));
    case 'stop':
      await hauler.stop();
      await host.stop();
      setTimeout(() => process.exit(0), 50);
  }
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const command = JSON.parse(line) as Command;
  act(command).then((result) => say({ n: command.n, result }), (error: unknown) => say({ n: command.n, error: messageOf(error), code: (error as { code?: string }).code }));
});
say({ ready: true });
