/**
 * 100,000 messages that no Nova would send, through the real dispatcher, the real endpoints and handlers, over the fakes: nothing ends the
 * service, nothing is done that was not asked for properly, every caller is answered once, and afterwards the service works.
 */
import { gzipSync } from 'node:zlib';
import test, { type ExecutionContext } from 'ava';
import { silentLog } from '../../../src/base/log.js';
import { computeEndpoint } from '../../../src/compute/endpoint.js';
import { methodTable } from '../../../src/compute/method-table.js';
import { baseEndpoint, v5Endpoint } from '../../../src/compute/other-endpoints.js';
import { computeRequests, type Recorded } from '../../contract/recordings.js';
import { makeDesk, type Desk, type Raw } from '../messaging/desk.js';
import { context, leftovers, uuid, world, type World } from './world.js';

type Json = Record<string, unknown>;

const seed = Number(process.env['HAULIER_FUZZ_SEED'] ?? 20_261_122);

/** mulberry32: numbers from a seed. */
function randomness(state: number): { below: (limit: number) => number; pick: <T>(list: readonly T[]) => T } {
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
  const below = (limit: number): number => Math.floor(next() * limit);
  return { below, pick: (list) => list[below(list.length)]! };
}

const smallest = new Map<string, Recorded>();
for (const request of computeRequests()) {
  const { method } = request.body['oslo.message'];
  const before = smallest.get(method);
  if (!before || JSON.stringify(request.body).length < JSON.stringify(before.body).length) smallest.set(method, request);
}
/** One recorded request of each method. */
const requests = [...smallest.values()].map(({ body }) => body['oslo.message']);

interface Bench { readonly w: World; readonly desk: Desk }

async function bench(): Promise<Bench> {
  const w = await world({ vifPluggingTimeout: 0 });
  await w.boot();
  w.steps.clear();
  const current = computeEndpoint(w.compute);
  return { w, desk: makeDesk([current, v5Endpoint(current), baseEndpoint], silentLog()) };
}

let sent = 0;
const id = (): string => (++sent).toString(16).padStart(32, '0');

const wrap = (message: unknown, version: unknown = '2.0'): Buffer => Buffer.from(JSON.stringify({ 'oslo.version': version, 'oslo.message': typeof message === 'string' ? message : JSON.stringify(message) }));

/** A request to this world's server, as a call with a reply address of its own. */
function request(message: Recorded['body']['oslo.message'], change: Json = {}): Json {
  return { ...message, _msg_id: id(), _reply_q: 'reply_fuzz', _unique_id: id(), _timeout: null, ...change };
}

const junkTexts = [null, true, 0, -1, 1e308, '', 'x', '\u0000', '../../etc/passwd', '${jndi:x}', [], {}, [[[]]], 'ü'.repeat(1000)].map((value) => JSON.stringify(value)).concat('{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 1}}}');
/** A fresh value of some kind that is not wanted. */
const junk = (random: ReturnType<typeof randomness>): unknown => JSON.parse(random.pick(junkTexts));
const oddMethods = ['', ' ', 'constructor', '__proto__', 'toString', 'hasOwnProperty', '_private', 'start_instance ', 'START_INSTANCE', '../rpc/start_instance', 'init_host', 'x'.repeat(20_000)];

/** Ways to spoil a request so that nothing of it may be done. */
const spoilers: readonly ((random: ReturnType<typeof randomness>, message: Json) => Raw | Buffer)[] = [
  (random, message) => wrap(message).subarray(0, random.below(400)),
  (random, message) => { const body = wrap(message); for (let i = 0; i < 8; i++) body[random.below(24)] = random.below(256); return body; }, // the envelope's version or its name
  (random) => Buffer.from(Array.from({ length: random.below(300) }, () => random.below(256))),
  (random) => Buffer.from(JSON.stringify(junk(random))),
  (random) => wrap(JSON.stringify(junk(random))),
  (random, message) => wrap(message, random.pick(['1.0', '3.0', '2.1', '2', '', null, 2, {}])),
  (random, message) => ({ body: wrap(message), headers: { compression: random.pick(['application/x-bz2', 'zstd', 7, {}]) } }),
  (random, message) => ({ body: random.below(2) ? wrap(message) : gzipSync(wrap(message)).subarray(0, 40), headers: { compression: 'application/x-gzip' } }),
  (random, message) => wrap({ ...message, method: random.below(2) ? random.pick(oddMethods) : junk(random) }),
  (random, message) => wrap({ ...message, version: random.pick(['7.0', '6.99', '4.0', '5.14', '-1.0', '6', 'six', '6.0.0.0', '9'.repeat(400)]) }),
  (random, message) => wrap({ ...message, namespace: random.pick(['baseapi', 'compute_task', 'x', '__proto__']) }),
  (random, message) => wrap({ ...message, args: random.pick([null, [], 'x', 7, {}]) }),
  (_random, message) => wrap({ ...message, args: { ...message['args'] as Json, unheard_of: 1 } }),
  (random, message) => wrap({ ...message, args: { ...message['args'] as Json, instance: junk(random), instances: junk(random) } }),
  (random, message) => { const args = structuredClone(message['args']) as Json; for (const object of Object.values(args).flat().filter(isObject)) (object as Json)['nova_object.name'] = random.pick(['Service', 'x', '../Instance', '', '__proto__']); return wrap({ ...message, args }); },
  (_random, message) => wrap(`${'['.repeat(5000)}${JSON.stringify(message)}`),
];
const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null && 'nova_object.name' in value;

/** Lets handlers run now and then, as messages come one after another. */
const turn = (): Promise<void> => new Promise((resolve) => { setImmediate(resolve); });

/** All that operations change. */
const state = ({ w }: Bench): string => JSON.stringify([[...w.containers.made], [...w.containers.plugged].map(([key, ports]) => [key, [...ports]]), [...w.nova.instances], [...w.nova.caches], [...w.placement.allocations], [...w.neutron.stored], w.nova.migrations, w.nova.vifs]);

/** No answer is missing or double; no place, lock or operation is left. */
async function settled(t: ExecutionContext, { w, desk }: Bench, delivered: number): Promise<void> {
  // who waits for a slot is not at work yet
  do { await turn(); await desk.dispatcher.idle(); } while (desk.acknowledged + desk.rejected < delivered || desk.dispatcher.running > 0);
  t.is(desk.acknowledged + desk.rejected, delivered, 'each message is settled once');
  t.is(desk.dispatcher.running, 0);
  t.deepEqual(w.compute.operations.running, []);
  t.deepEqual(w.containers.clashes, []);
  const ids = desk.answers.map(({ message }) => message['_msg_id']);
  t.is(new Set(ids).size, ids.length, 'no caller is answered twice');
  t.true(desk.answers.every(({ message }) => message['ending'] === true));
  t.is(({} as Json)['polluted'], undefined);
}

/** The service works: it stops the server that it has, and deletes it. */
async function works(t: ExecutionContext, { w }: Bench): Promise<void> {
  w.nova.row(uuid)['task_state'] = null;
  await w.send('pause_instance', { instance: w.instance({ task_state: 'pausing' }) });
  t.is(w.containers.made.get(uuid)?.state, 'paused');
  t.deepEqual(leftovers(w).filter((what) => /operation|lock|clash/.test(what)), []);
}

const whole = (raw: Raw | Buffer): Raw => (Buffer.isBuffer(raw) ? { body: raw } : raw);

test('84,000 malformed, oversized, unknown messages change nothing', async (t) => {
  t.timeout(600_000);
  const it = await bench();
  const random = randomness(seed);
  // ping asks for nothing; what the table does not do is refused with a fault anyway
  const doing = requests.filter(({ method, args }) => methodTable[method]?.does.state === 'done' && ('instance' in args || 'instances' in args));
  t.true(doing.length >= 20);
  const before = state(it);
  const total = 84_000;
  for (let n = 0; n < total; n++) {
    it.desk.deliver(whole(random.pick(spoilers)(random, request(random.pick(doing)))));
    if (n % 50 === 0) await turn();
  }
  await settled(t, it, total);
  t.is(state(it), before);
  t.deepEqual([...new Set(it.w.steps.seen.filter((step) => /^(containers|placement|neutron|cast|Instance\.|Migration\.)/.test(step)))], [], 'nothing was even begun');
  const failures = it.desk.answers.map(({ message }) => JSON.parse(String(message['failure'])) as { class: string; module: string });
  t.deepEqual([...new Set(failures.map((one) => `${one.module} ${one.class}`))].sort(), ['builtins NotImplementedError', 'nova.exception Invalid', 'oslo_messaging.rpc.dispatcher NoSuchMethod', 'oslo_messaging.rpc.dispatcher UnsupportedVersion'].filter((name) => failures.some((one) => name === `${one.module} ${one.class}`)));
  await works(t, it);
});

test('1,000 replays: what came once is done once', async (t) => {
  t.timeout(600_000);
  const it = await bench();
  const random = randomness(seed + 1);
  let delivered = 0;
  for (let round = 0; round < 100; round++) {
    const method = round % 2 === 0 ? 'pause_instance' : 'unpause_instance';
    const message = request({ method, args: { instance: it.w.instance({ task_state: method === 'pause_instance' ? 'pausing' : 'unpausing' }) }, version: '6.0' }, { ...Object.fromEntries(Object.entries(context).map(([key, value]) => [`_context_${key}`, value])) });
    it.w.nova.row(uuid)['task_state'] = method === 'pause_instance' ? 'pausing' : 'unpausing';
    const before = it.w.steps.count(`containers.${method === 'pause_instance' ? 'pause' : 'unpause'}`);
    const copies = Array.from({ length: 10 }, () => ({ body: wrap(message), ...(random.below(2) ? { expiration: '60000' } : {}) }));
    for (const copy of copies) {
      it.desk.deliver(copy);
      if (random.below(2)) await turn();
      delivered++;
    }
    await it.desk.dispatcher.idle();
    if (it.w.steps.count(`containers.${method === 'pause_instance' ? 'pause' : 'unpause'}`) !== before + 1) return t.fail(`${method} of round ${round} was not done once`);
  }
  await settled(t, it, delivered);
  t.is(it.desk.answers.length, 100);
});

test('15,000 requests out of order and with spoiled fields, side by side: each is answered, none meets another', async (t) => {
  t.timeout(600_000);
  const it = await bench();
  const random = randomness(seed + 2);
  const total = 15_000;
  const spoil = (value: unknown, depth = 0): void => {
    if (typeof value !== 'object' || value === null) return;
    const keys = Object.keys(value);
    if (keys.length === 0) return;
    const key = random.pick(keys);
    const inner = (value as Json)[key];
    if (depth < 6 && typeof inner === 'object' && inner !== null && random.below(3) > 0) spoil(inner, depth + 1);
    else Object.defineProperty(value, key, { value: junk(random), enumerable: true, configurable: true, writable: true });
  };
  for (let n = 0; n < total; n++) {
    const message = structuredClone(random.pick(requests));
    for (let times = random.below(4); times > 0; times--) spoil(message.args);
    it.desk.deliver({ body: wrap(request(message)) });
    if (n % 10 === 0) await turn();
  }
  await settled(t, it, total);
  t.is(it.desk.answers.length, total);
  const wrong = it.desk.answers.flatMap(({ message }) => (message['failure'] ? [JSON.parse(String(message['failure'])) as { class: string; message: string; tb: string[] }] : [])).filter((one) => /TypeError|RangeError|ReferenceError|SyntaxError/.test(one.tb.at(-1) ?? ''));
  t.deepEqual([...new Set(wrong.map((one) => `${one.message} ${one.tb[1]}`))], [], 'a slip of ours is no answer');
});
