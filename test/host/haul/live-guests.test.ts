/** What is hauled unharmed: memory under load, a paused container, an unmodified Debian system that serves. */
import { rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import { Authority } from '../../lib/certificates.js';
import { criuProblem } from '../container/checkpoint-kit.js';
import { guestImage, guestImageProblem } from '../container/guest-systems.js';
import { makeSpec, makeVif, until } from '../container/harness.js';
import { hostBridge, makeHosts, type TestHost } from './hosts.js';
import { bootNumbers, counted, haul, NumberClient, numbersImage, portAt } from './numbers.js';

const problem = await criuProblem();
const test = anyTest as TestFn<{ a: TestHost; b: TestHost; end(): Promise<void> }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/haul/live-guests: ${problem}\n`);
const noGuest = problem ?? guestImageProblem('debian13');
if (noGuest !== undefined) process.stderr.write(`SKIPPED test/host/haul/live-guests, Debian: ${noGuest}\n`);

const authority = new Authority();
process.on('exit', () => rmSync(authority.folder, { recursive: true, force: true }));

test.before(async (t) => {
  if (problem !== undefined) return;
  t.context = await makeHosts(authority);
  for (const host of [t.context.a, t.context.b]) await host.start();
});
test.after.always(async (t) => { await t.context.end?.(); });

/** Holds random bytes in its memory and looks at them again and again, and writes to the disk meanwhile. */
const holder = `data=$(head -c 200000 /dev/urandom | base64); sum=$(echo "$data" | md5sum); n=0
while :; do [ "$(echo "$data" | md5sum)" = "$sum" ] && n=$((n + 1)) && echo $n >/run/equal || echo damaged >/run/damaged; echo "$data" >/root/data; sleep 0.1; done`;

real('20 hauls under load: memory, disk and connection are what they were', async (t) => {
  const { a, b } = t.context;
  const image = await numbersImage();
  for (const host of [a, b]) await host.takeImage(image);
  const spec = await bootNumbers(a, image);
  const client = await NumberClient.open('10.99.0.50', 7000);
  t.teardown(() => client.close());
  await a.guest(spec.id, 'sh', '-c', `(${holder}) </dev/null >/dev/null 2>&1 &`);
  const equal = async (host: TestHost): Promise<number> => Number(await host.guest(spec.id, 'cat', '/run/equal').catch(() => '0'));
  for (let turn = 0; turn < 20; turn++) {
    const [from, to] = turn % 2 === 0 ? [a, b] : [b, a];
    const before = await until('it has looked', () => equal(from), 30_000);
    await haul(spec.id, from, to);
    await until('it has looked again', async () => (await equal(to)) > before + 1, 30_000);
    t.is(await to.guest(spec.id, 'sh', '-c', 'cat /run/damaged 2>/dev/null; true'), '');
    await client.more(50);
  }
  client.close();
  await a.tell({ do: 'destroy', id: spec.id });
});

real('a paused container arrives paused, and goes on when it is told to', async (t) => {
  const { a, b } = t.context;
  const image = await numbersImage();
  for (const host of [a, b]) await host.takeImage(image);
  const spec = await bootNumbers(a, image);
  await until('it counts', () => counted(a, spec.id));
  const client = await NumberClient.open('10.99.0.50', 7000);
  t.teardown(() => client.close());
  await client.more(20);
  await a.tell({ do: 'pause', id: spec.id });
  const count = await counted(a, spec.id);
  await t.throwsAsync(haul(spec.id, a, b, { abortAt: 'frozen' }), { message: /somebody aborts it/ });
  t.is((await a.view(spec.id)).state, 'paused');
  await until('nothing is left there', async () => (await b.traces(spec)).length === 0, 30_000);
  await haul(spec.id, a, b);
  t.is((await b.view(spec.id)).state, 'paused');
  t.is(await counted(b, spec.id), count, 'not one instruction');
  t.deepEqual(await a.traces(spec), []);
  await b.tell({ do: 'unpause', id: spec.id });
  await until('it counts on', async () => (await counted(b, spec.id)) > count);
  await client.more(20);
  client.close();
  await b.tell({ do: 'destroy', id: spec.id });
});

const request = 'GET / HTTP/1.1\r\nHost: guest\r\n\r\n';

/** A connection to nginx that is kept. */
async function open(address: string): Promise<{ ask(): Promise<void>; close(): void }> {
  const socket = await until('nginx listens', () => new Promise<Socket | undefined>((resolve) => {
    const made: Socket = connect(80, address, () => resolve(made)).once('error', () => resolve(undefined));
  }), 60_000);
  let heard = '';
  let ended = false;
  socket.on('data', (data: Buffer) => { heard += data.toString(); }).on('close', () => { ended = true; }).on('error', () => undefined);
  return {
    ask: async () => {
      heard = '';
      socket.write(request);
      await until('an answer', () => ended || /^HTTP\/1\.1 200 OK[^]*<\/html>/.test(heard), 30_000);
      if (ended) throw new Error('the connection ended');
    },
    close: () => socket.destroy(),
  };
}

/** CPU time of each process, in ticks; the ones that look are not among them. */
async function ticks(host: TestHost, id: string): Promise<Map<string, number>> {
  const text = await host.guest(id, 'sh', '-c', 'cat /proc/[0-9]*/stat 2>/dev/null; true');
  return new Map(text.split('\n').map((line) => {
    const rest = line.slice(line.lastIndexOf(')') + 2).split(' ');
    return [line.slice(0, line.lastIndexOf(')') + 1), Number(rest[11]) + Number(rest[12])] as const;
  }));
}

(noGuest === undefined ? test.serial : test.skip)('an unmodified Debian 13 that serves: 6 hauls, one connection, no unit failed, nothing that spins', async (t) => {
  const { a, b } = t.context;
  const image = await guestImage('debian13');
  const bytes = await run('sha256sum', ['/opt/haulier-guests/debian13.tar.zst'], { timeoutMs: 120_000 });
  for (const host of [a, b]) await host.takeImage({ ...image, checksum: { algorithm: 'sha256', value: bytes.stdout.slice(0, 64) } });
  const spec = makeSpec(image, {
    vifs: [portAt(makeVif({ type: 'bridge', bridge: hostBridge, createBridge: false }, 0), 60)],
    limits: { vcpus: 2, cpuShares: undefined, cpuQuota: undefined, cpuPeriod: undefined, memoryMiB: 512, swapMiB: 0, pids: 1000, rootGiB: 2 },
  });
  await a.tell({ do: 'create', id: spec.id, spec });
  await a.tell({ do: 'start', id: spec.id });
  const runs = (host: TestHost): Promise<boolean> => host.guest(spec.id, 'systemctl', 'is-system-running').then((text) => text === 'running', () => false);
  await until('it has booted', () => runs(a), 120_000);
  const line = await open('10.99.0.60');
  t.teardown(() => line.close());
  const services = async (host: TestHost): Promise<string> => await host.guest(spec.id, 'systemctl', 'show', '--property=MainPID', '--value', 'nginx', 'ssh', 'cron', 'dbus', 'systemd-journald', 'systemd-logind');
  const before = await services(a);
  for (let turn = 0; turn < 6; turn++) {
    const [from, to] = turn % 2 === 0 ? [a, b] : [b, a];
    await line.ask();
    const { result } = await haul(spec.id, from, to);
    await line.ask();
    t.log(`${from.name} -> ${to.name}: ${result.totalMs} ms in all, ${result.frozenMs} ms frozen, ${result.memoryBytes} bytes of images, ${result.diskBytes} of files`);
    t.is(await to.guest(spec.id, 'systemctl', '--failed', '--no-legend'), '');
    t.true(await runs(to));
    t.is(await services(to), before, 'the same processes');
    await until('nothing spins', async () => {
      const first = await ticks(to, spec.id);
      await sleep(1000);
      return [...(await ticks(to, spec.id))].every(([process, used]) => used - (first.get(process) ?? used) <= 20);
    }, 60_000);
    t.deepEqual(await from.traces(spec), []);
  }
  for (const service of ['nginx', 'ssh', 'cron']) await a.guest(spec.id, 'systemctl', 'restart', service);
  t.is(await a.guest(spec.id, 'systemctl', '--failed', '--no-legend'), '');
  line.close();
  await a.tell({ do: 'destroy', id: spec.id });
});
