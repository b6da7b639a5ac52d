/** Snapshots with memory of real containers, and containers that resume from them, with the real criu. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import type { ContainerSpec, ImageSource } from '../../../src/container/spec.js';
import { mountsUnder } from '../../../src/container/storage/mounts.js';
import { criuProblem, leftOvers } from './checkpoint-kit.js';
import { inside, operate, until } from './harness.js';
import { bootFrom, counted, countsOn, memoryBed, memorySnapshot, type MemoryBed } from './memory-kit.js';
import { toolsImage } from './tools-image.js';

const problem = await criuProblem();
const test = anyTest as TestFn<{ bed: MemoryBed; tools: ImageSource }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/memory: ${problem}\n`);

test.before(async (t) => {
  if (problem !== undefined) return;
  t.context.bed = await memoryBed('brqhtmem');
  t.context.tools = await toolsImage(false);
});
test.afterEach.always(async (t) => {
  if (!t.context.bed) return;
  for (const view of await t.context.bed.host.list()) await operate((operation) => t.context.bed.host.destroy(view.id, operation));
});
test.after.always((t) => t.context.bed?.end());

const sh = (bed: MemoryBed, id: string, script: string): Promise<string> => inside(bed, id, 'sh', '-c', script);
const inBackground = (bed: MemoryBed, id: string, command: string): Promise<string> => sh(bed, id, `(${command}) </dev/null >/dev/null 2>&1 & true`);

function dial(address: string, port: number): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket: Socket = connect(port, address, () => resolve(socket)).once('error', () => resolve(undefined));
    socket.setTimeout(3000, () => socket.destroy(new Error('silent')));
  });
}

/** The file-system leftovers of a snapshot. */
async function remains(bed: MemoryBed, id: string): Promise<string[]> {
  const folder = join(bed.options.instancesPath, id);
  return [...mountsUnder(join(folder, 'snapshot')).map(({ path }) => path), ...[join(folder, 'snapshot'), join(bed.options.runPath, 'containers', id, 'frozen-for-snapshot')].filter((path) => existsSync(path))];
}

const address = (spec: ContainerSpec): string => spec.vifs[0]?.addresses[0]?.address ?? '';

real('two servers go on from one snapshot, each as itself, and so does the one that it was taken of', async (t) => {
  const { bed } = t.context;
  const { host } = bed;
  const source = await bootFrom(bed, bed.image, { hostname: 'source' });
  await countsOn(host, source.id, 5);
  await inBackground(bed, source.id, 'su user -c "nc -ll -p 7000 -e cat"');
  await sh(bed, source.id, 'echo old > /root/kept; hostname > /run/name; mkdir -p /etc/ssh; echo k > /etc/ssh/ssh_host_rsa_key; echo 1234 > /etc/machine-id');
  const held = await until('a connection', () => dial(address(source), 7000));
  t.teardown(() => held.destroy());
  const before = await counted(host, source.id);
  const began = performance.now();
  const { image, snapshot } = await memorySnapshot(bed, source.id);
  t.log(`frozen ${Math.round(snapshot.frozenMs)} ms, whole ${Math.round(performance.now() - began)} ms, ${image.size} bytes, ${JSON.stringify(snapshot.memory)}`);
  t.like(snapshot.memory, { format: 1 });
  t.deepEqual(await remains(bed, source.id), []);
  t.is((await host.view(source.id)).state, 'running');
  await countsOn(host, source.id, before);
  held.write('still there\n');
  await until('its connection lives', () => new Promise((resolve) => held.once('data', (data: Buffer) => resolve(data.toString().includes('still there')))));
  await sh(bed, source.id, 'echo new > /root/kept');

  const clones = await Promise.all([0, 1].map(() => bootFrom(bed, image, {})));
  for (const clone of clones) {
    t.is((await host.view(clone.id)).state, 'running');
    await countsOn(host, clone.id, before);
    t.deepEqual((await sh(bed, clone.id, 'hostname; cat /etc/hostname /root/kept /run/name; cat /etc/machine-id /etc/ssh/ssh_host_rsa_key')).split('\n'), [clone.hostname, clone.hostname, 'old', 'source', '1234', 'k']);
    const network = await sh(bed, clone.id, 'ip address; ip route; ip -6 route; cat /etc/hosts');
    t.true(network.includes(`${address(clone)}/24`) && network.includes(clone.vifs[0]?.mac ?? '') && network.includes(`${address(clone)} ${clone.hostname}`), network);
    t.false(network.includes(address(source)), network);
    t.notRegex(network, /dev lo metric/);
    const socket = await until('it answers', () => dial(address(clone), 7000));
    socket.write('hello\n');
    await until('an echo', () => new Promise((resolve) => socket.once('data', (data: Buffer) => resolve(data.toString() === 'hello\n'))));
    socket.destroy();
    const pid = (await host.view(clone.id)).pid;
    t.false(existsSync(join(bed.options.instancesPath, clone.id, 'checkpoint')), 'no images are left');
    t.is((await readFile(`/proc/${pid}/uid_map`, 'utf8')).trim().split(/\s+/)[1], String((await host.parts.store.readState(clone.id))?.idBase));
    t.is(await sh(bed, clone.id, 'touch /root/mine && stat -c %u /root/mine; ps -o user,comm | grep -c "^user *nc"'), '0\n1');
  }
  const bases = await Promise.all([source, ...clones].map(async ({ id }) => (await host.parts.store.readState(id))?.idBase));
  t.is(new Set(bases).size, 3);

  // a clone is a container like any other
  const [first] = clones as [ContainerSpec, ContainerSpec];
  await operate((operation) => host.suspend(first.id, operation));
  await operate((operation) => host.resume(first.id, operation));
  await countsOn(host, first.id, before);
  const again = await memorySnapshot(bed, first.id);
  const third = await bootFrom(bed, again.image);
  t.is(await sh(bed, third.id, 'hostname'), third.hostname);
  await operate((operation) => host.stopContainer(third.id, { timeoutMs: 10_000, retryMs: 5000 }, operation));
  await operate((operation) => host.startContainer(third.id, operation));
  t.is(await until('it booted cold', () => sh(bed, third.id, 'hostname')), third.hostname);
  for (const spec of [source, third, ...clones]) {
    await operate((operation) => host.destroy(spec.id, operation));
    t.deepEqual(await leftOvers(bed, spec), []);
  }
});

real('sockets: what is bound to an old address is deaf, what is connected is closed, what listens anywhere goes on', async (t) => {
  const { bed, tools } = t.context;
  const source = await bootFrom(bed, tools, { limits: { vcpus: 1, cpuShares: undefined, cpuQuota: undefined, cpuPeriod: undefined, memoryMiB: 256, swapMiB: 0, pids: 64, rootGiB: 1 } });
  const own = address(source);
  const six = source.vifs[0]?.addresses[1]?.address ?? '';
  const program = `
import socket, select, time
def bound(family, kind, address, port):
    s = socket.socket(family, kind); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((address, port))
    if kind == socket.SOCK_STREAM: s.listen()
    return s
I4, I6, T, U = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM
anywhere = bound(I4, T, '0.0.0.0', 7000)
anywhere6 = bound(I6, T, '::', 7006)
old = [bound(I4, T, '${own}', 7001), bound(I4, U, '${own}', 7002), bound(I6, T, '${six}', 7003), bound(I6, U, '${six}', 7004)]
asking = socket.socket(I4, U); asking.connect(('10.90.0.1', 53))
far = socket.socket(I4, U); far.bind(('${own}', 0)); far.connect(('10.90.0.77', 53))
far6 = socket.socket(I6, U); far6.bind(('${six}', 0)); far6.connect(('fd00:90:0::77', 53))
local = [line.split() for line in open('/proc/net/if_inet6') if line.split()[3] == '20'][0]
near6 = socket.socket(I6, U); near6.bind((':'.join(local[0][i:i + 4] for i in range(0, 32, 4)), 546, 0, int(local[1], 16)))
connected = socket.create_connection(('10.90.0.1', 7100))
said = 'open'
open('/run/up', 'w').close()
while True:
    ready, _, _ = select.select([anywhere, anywhere6, connected] if said == 'open' else [anywhere, anywhere6], [], [], 0.1)
    if connected in ready:
        try: said = 'closed' if connected.recv(10) == b'' else 'open'
        except OSError as error: said = 'error'
    for s in (anywhere, anywhere6):
        if s in ready:
            peer, _ = s.accept(); peer.send(said.encode()); peer.close()
`;
  const { createServer } = await import('node:net');
  const accepted: Socket[] = [];
  const server = createServer((socket) => { accepted.push(socket.on('error', () => undefined)); });
  await new Promise<void>((resolve) => server.listen(7100, '10.90.0.1', resolve));
  t.teardown(() => { for (const socket of accepted) socket.destroy(); server.close(); });
  await inside(bed, source.id, 'python3', '-c', `open('/root/net.py', 'w').write(${JSON.stringify(program)})`);
  await inBackground(bed, source.id, 'python3 /root/net.py 2>/run/problem');
  await until('it is up', () => sh(bed, source.id, '[ -e /run/up ] && echo yes; true'), 15_000);
  const { image } = await memorySnapshot(bed, source.id);
  const clone = await bootFrom(bed, image, { limits: source.limits });
  const answer = await until('it answers', async () => {
    const socket = await dial(address(clone), 7000);
    return socket && await new Promise<string>((resolve) => socket.once('data', (data: Buffer) => resolve(data.toString())).once('error', () => resolve('')));
  });
  t.log(`the connection of the clone: ${answer}`);
  t.not(answer, 'open');
  t.truthy(await dial(clone.vifs[0]?.addresses[1]?.address ?? '', 7006).catch(() => undefined) ?? 'no route from here');
  const clients = await sh(bed, clone.id, 'ip address; ip route; ip -6 route; cat /run/problem');
  t.false(clients.includes(own) || clients.includes(six), clients);
  t.is(await dial(address(clone), 7001), undefined);
  // the source did not notice
  const socket = await until('the source answers', () => dial(own, 7000));
  t.is(await new Promise<string>((resolve) => socket.once('data', (data: Buffer) => resolve(data.toString()))), 'open');
});

real('new keys, a new machine id and the guest\'s own hook, where asked', async (t) => {
  const { bed } = t.context;
  const { host } = bed;
  const source = await bootFrom(bed, bed.image);
  await countsOn(host, source.id, 1);
  await sh(bed, source.id, 'mkdir -p /etc/ssh /etc/haulier; for k in rsa ed25519; do echo k > /etc/ssh/ssh_host_${k}_key; echo k > /etc/ssh/ssh_host_${k}_key.pub; done; echo c > /etc/ssh/sshd_config; echo 1234 > /etc/machine-id; printf "#!/bin/sh\\nhostname > /run/resumed\\n" > /etc/haulier/resumed; chmod +x /etc/haulier/resumed');
  const { image } = await memorySnapshot(bed, source.id);
  const clone = await bootFrom(bed, image, { newIdentity: ['keys', 'machine-id'] });
  t.is(await sh(bed, clone.id, 'ls /etc/ssh; cat /run/resumed'), `sshd_config\n${clone.hostname}`);
  t.regex(await sh(bed, clone.id, 'cat /etc/machine-id'), /^[0-9a-f]{32}$/);
  t.is(await sh(bed, source.id, 'ls /etc/ssh | wc -l; ls /run/resumed 2>&1 | wc -l; cat /etc/machine-id'), '5\n1\n1234');
});

real('of a paused and of a suspended container; a stopped one has no memory', async (t) => {
  const { bed } = t.context;
  const { host } = bed;
  const source = await bootFrom(bed, bed.image);
  await countsOn(host, source.id, 3);
  await operate((operation) => host.pause(source.id, operation));
  const at = await counted(host, source.id);
  const paused = await memorySnapshot(bed, source.id, host, 500); // whoever reads late loses nothing
  t.is(paused.snapshot.frozenMs, 0);
  t.is((await host.view(source.id)).state, 'paused');
  t.deepEqual(await remains(bed, source.id), []);
  t.is(await counted(host, source.id), at);
  const one = await bootFrom(bed, paused.image);
  await countsOn(host, one.id, at);
  await operate((operation) => host.unpause(source.id, operation));
  await countsOn(host, source.id, at);

  await operate((operation) => host.suspend(source.id, operation));
  const suspended = await memorySnapshot(bed, source.id);
  t.is((await host.view(source.id)).state, 'suspended');
  t.deepEqual(await remains(bed, source.id), []);
  const two = await bootFrom(bed, suspended.image);
  await countsOn(host, two.id, at);
  t.is(await sh(bed, two.id, 'hostname'), two.hostname);
  await operate((operation) => host.resume(source.id, operation));
  await countsOn(host, source.id, at);

  await operate((operation) => host.stopContainer(source.id, { timeoutMs: 0, retryMs: 0 }, operation));
  const stopped = await memorySnapshot(bed, source.id);
  t.is(stopped.snapshot.memory, undefined);
  const three = await bootFrom(bed, stopped.image);
  await until('it boots', async () => (await host.consoleLog(three.id, undefined)).includes('guest is up'));
});

real('a shelved container comes back as what it was, on another range of ids', async (t) => {
  const { bed } = t.context;
  const { host } = bed;
  const other = await bootFrom(bed, bed.image); // takes the lowest range when it has gone
  const source = await bootFrom(bed, bed.image);
  await countsOn(host, source.id, 3);
  await sh(bed, source.id, 'echo "# mine" >> /etc/hosts');
  await operate((operation) => host.suspend(source.id, operation));
  const { image } = await memorySnapshot(bed, source.id);
  const base = (await host.parts.store.readState(source.id))?.idBase;
  await operate((operation) => host.destroy(other.id, operation));
  await operate((operation) => host.destroy(source.id, operation));
  const spec = { ...source, imageId: image.id };
  await operate((operation) => host.ensureImage(image, operation));
  await operate((operation) => host.create(spec, operation));
  t.is((await host.view(spec.id)).state, 'stopped');
  await operate((operation) => host.startContainer(spec.id, operation));
  t.not((await host.parts.store.readState(spec.id))?.idBase, base);
  await countsOn(host, spec.id, 3);
  t.is(await sh(bed, spec.id, 'hostname; tail -n 1 /etc/hosts'), `${source.hostname}\n# mine`);
});

real('a container that forks without pause is dumped, and its clones fork on', async (t) => {
  const { bed } = t.context;
  const { host } = bed;
  // criu's own processes are in the container's group while it restores, beside children that nobody has waited for
  const limits = { vcpus: 1, cpuShares: undefined, cpuQuota: undefined, cpuPeriod: undefined, memoryMiB: 1024, swapMiB: 0, pids: 4000, rootGiB: 1 };
  const source = await bootFrom(bed, bed.image, { limits });
  await inBackground(bed, source.id, 'n=0; while :; do n=$((n + 1)); (true & true); /bin/true; echo $n > /run/forks; done');
  const forks = async (id: string): Promise<number> => Number(await readFile(`/proc/${(await host.view(id)).pid}/root/run/forks`, 'utf8').catch(() => '0'));
  await until('it forks', async () => (await forks(source.id)) > 20);
  for (let round = 0; round < 5; round++) {
    const before = await forks(source.id);
    const { image } = await memorySnapshot(bed, source.id);
    await until('the source forks on', async () => (await forks(source.id)) > before);
    const clone = await bootFrom(bed, image, { limits });
    await until('the clone forks on', async () => (await forks(clone.id)) > before);
    await operate((operation) => host.destroy(clone.id, operation));
  }
  t.deepEqual(await remains(bed, source.id), []);
});

real('the host restarts between create and start: it still resumes', async (t) => {
  const { bed } = t.context;
  const { host } = bed;
  const source = await bootFrom(bed, bed.image);
  await countsOn(host, source.id, 3);
  const { image } = await memorySnapshot(bed, source.id);
  await operate((operation) => host.ensureImage(image, operation));
  const { spec } = { spec: { ...source, id: crypto.randomUUID(), imageId: image.id, vifs: [], hostname: 'late' } };
  await operate((operation) => host.create(spec, operation));
  await host.stop();
  await run('ip', ['link', 'show']); // nothing of the container is mounted or running; only its folder tells
  await host.start();
  await operate((operation) => host.startContainer(spec.id, operation));
  await countsOn(host, spec.id, 3);
  t.is(await sh(bed, spec.id, 'hostname'), 'late');
});
