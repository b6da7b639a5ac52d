/** Another compute service of this host's name: who is believed to be one, and who is not. */
import { PassThrough } from 'node:stream';
import test from 'ava';
import { createLog } from '../../../src/base/log.js';
import { AloneWatch, requireAlone } from '../../../src/compute/alone.js';
import type { Messaging } from '../../../src/messaging/messaging.js';
import { MessagingTimeout } from '../../../src/messaging/types.js';
import { failure } from '../nova/fake-rpc.js';

const timing = { pingMs: 5, pauseMs: 1, tries: 3 };

/** @param counts what the broker says, one after the other, the last for ever @param ping what comes of a call */
function bus(counts: readonly (number | Error)[], ping: () => Promise<unknown>): { bus: Pick<Messaging, 'client' | 'servers'>; asked: string[]; pings: () => number; log: () => string; logger: ReturnType<typeof createLog> } {
  const asked: string[] = [];
  let pings = 0;
  const out = new PassThrough().setEncoding('utf8');
  const servers = async (topic: string, server: string): Promise<number> => {
    const count = counts[Math.min(asked.length, counts.length - 1)];
    asked.push(`${topic}.${server}`);
    if (count instanceof Error) throw count;
    return count ?? 0;
  };
  const client = { call: async (target: unknown, method: string) => { pings++; if (method !== 'ping') throw new Error(method); return await ping(); } } as unknown as Messaging['client'];
  return { bus: { client, servers }, asked, pings: () => pings, log: () => String(out.read() ?? ''), logger: createLog({ out }) };
}
const never = async (): Promise<never> => { throw new MessagingTimeout('ping', 'compute.a', 5); };
const signal = new AbortController().signal;

test('nobody consumes the queue: no question, no waiting', async (t) => {
  const it = bus([0], never);
  await requireAlone(it.bus, 'a', it.logger, signal, timing);
  t.deepEqual([it.asked, it.pings()], [['compute.a'], 0]);
});

for (const [how, ping] of [['answers', async () => ({ service: 'compute' })], ['refuses, which is an answer', async () => { throw failure('UnsupportedVersion'); }]] as const) {
  test(`somebody consumes and ${how}: refused, in words that say why`, async (t) => {
    const it = bus([1], ping);
    const error = await t.throwsAsync(requireAlone(it.bus, 'a', it.logger, signal, timing), { code: 'IDENTITY' });
    t.regex(error?.message ?? '', /a compute service of the name a is running/);
  });
}

test('our own connection of before a crash: it does not answer, and the broker forgets it', async (t) => {
  const it = bus([1, 1, 0], never);
  await requireAlone(it.bus, 'a', it.logger, signal, timing);
  t.deepEqual([it.asked.length, it.pings()], [3, 2]);
});

test('a broker that breaks while it is asked is asked again; one that consumes for ever without a word is refused', async (t) => {
  const broken = bus([new Error('connection lost'), new Error('connection lost'), new Error('connection lost'), new Error('connection lost'), 0], never);
  await requireAlone(broken.bus, 'a', broken.logger, signal, timing);
  t.is(broken.asked.length, 5);
  const mute = bus([1], never);
  await t.throwsAsync(requireAlone(mute.bus, 'a', mute.logger, signal, timing), { code: 'IDENTITY', message: /does not answer/ });
  t.is(mute.pings(), 3);
});

test('a stop of the service ends the question', async (t) => {
  const stop = new AbortController();
  const it = bus([1], async () => { stop.abort(new Error('stopped')); throw new Error('stopped'); });
  await t.throwsAsync(requireAlone(it.bus, 'a', it.logger, stop.signal, timing), { message: 'stopped' });
});

test('one that comes later is told of, once, when it stays; so is its end', async (t) => {
  const it = bus([1, 2, 1, 2, 2, 2, 2, 1], never);
  const watch = new AloneWatch(it.bus, 'a', it.logger, 3);
  const seen: boolean[] = [];
  for (let n = 0; n < 8; n++) {
    await watch.look();
    seen.push(watch.problem !== undefined);
  }
  t.deepEqual(seen, [false, false, false, false, false, true, true, false]);
  const lines = it.log().trim().split('\n').map((line) => JSON.parse(line) as { level: number; msg: string });
  t.deepEqual(lines.map(({ level }) => level), [50, 30]);
  t.regex(lines[0]?.msg ?? '', /another compute service of the name a/);
});
