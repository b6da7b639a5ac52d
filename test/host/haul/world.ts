/** The scene of the tests of hauls that fail: two hosts, a container on the first that counts, and a client outside that hears it. */
import { rmSync } from 'node:fs';
import type { ContainerSpec, ImageSource } from '../../../src/container/spec.js';
import { Authority } from '../../lib/certificates.js';
import { destinationSteps, sourceSteps } from '../../../src/haul/live/steps.js';
import { until } from '../container/harness.js';
import { makeHosts, type TestHost } from './hosts.js';
import { bootNumbers, haul, NumberClient, numbersImage } from './numbers.js';

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

/** From its step on the container goes on at the destination, whichever side dies. */
const decided = { source: 'haul.source.committed', destination: 'haul.destination.restored' } as const;

/** A haul in which the service of one side dies at a step of its own; it has been started again. */
export interface Death<T> {
  readonly from: TestHost;
  readonly to: TestHost;
  /** Where it goes on, by the protocol. */
  readonly right: TestHost;
  /** What was done before. */
  readonly before: T;
  /** What the haul's caller hears. */
  readonly result: Promise<string>;
}

/** Hauls it from where it runs. @param about.atSource the source's steps in their order, if they are not those of every haul @param before done while it runs, when the victim has been started with the fault */
export async function killedAt<T>(context: World, step: string, about: { readonly atSource?: readonly string[]; readonly how?: Parameters<typeof haul>[3] }, before: (from: TestHost) => Promise<T>): Promise<Death<T>> {
  const { spec, a, b } = context;
  const from = await until('it runs on one side', () => place(context));
  const to = from === a ? b : a;
  const atSource = about.atSource ?? sourceSteps;
  const [own, decidedAt, victim]: [readonly string[], string, TestHost] = atSource.includes(step) ? [atSource, decided.source, from] : [destinationSteps, decided.destination, to];
  await victim.kill();
  await victim.start(`kill:${step}`);
  const done = await before(from);
  const result = haul(spec.id, from, to, about.how).then(() => 'went through', (error: Error) => error.message);
  await Promise.race([victim.gone(), result.then(async (text) => { await until(`${victim.name} dies (${text})`, () => !victim.lives, 20_000); })]);
  await victim.start();
  return { from, to, right: own.indexOf(step) >= own.indexOf(decidedAt) ? to : from, before: done, result };
}
