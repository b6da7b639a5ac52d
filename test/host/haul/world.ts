/** The scene of the tests of hauls that fail: two hosts, a container on the first that counts, and a client outside that hears it. */
import { rmSync } from 'node:fs';
import type { ContainerSpec, ImageSource } from '../../../src/container/spec.js';
import { Authority } from '../../lib/certificates.js';
import { makeHosts, type TestHost } from './hosts.js';
import { bootNumbers, NumberClient, numbersImage } from './numbers.js';

export interface World {
  a: TestHost;
  b: TestHost;
  image: ImageSource;
  spec: ContainerSpec;
  client: NumberClient;
  end(): Promise<void>;
}

/** The certificates of both hosts, gone with the process. */
export const authority = new Authority();
process.on('exit', () => rmSync(authority.folder, { recursive: true, force: true }));

/** Starts both and boots the container on `a`; the context has what there is already, so that `closeWorld` ends it if this fails. @param takers hosts that fetch the image; `b` may see that of `a` */
export async function openWorld(context: World, hosts: Awaited<ReturnType<typeof makeHosts>>, takers: readonly ('a' | 'b')[] = ['a', 'b']): Promise<void> {
  const image = await numbersImage();
  Object.assign(context, hosts, { image });
  await hosts.a.start();
  await hosts.b.start();
  for (const name of takers) await hosts[name].takeImage(image);
  Object.assign(context, { spec: await bootNumbers(hosts.a, image) });
  Object.assign(context, { client: await NumberClient.open('10.99.0.50', 7000) });
  await context.client.more(50);
}

export async function closeWorld(context: Partial<World>): Promise<void> {
  context.client?.close();
  await context.end?.();
}

/** Where it runs; undefined while that is not exactly one. */
export async function place({ a, b, spec }: World): Promise<TestHost | undefined> {
  const states = await Promise.all([a, b].map(async (host) => (await host.view(spec.id)).state));
  return states[0] === 'running' && states[1] === 'missing' ? a : states[1] === 'running' && states[0] === 'missing' ? b : undefined;
}
