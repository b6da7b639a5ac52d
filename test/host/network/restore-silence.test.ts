/** A clone has the addresses of the server that its memory is of for as long as it is restored. Its neighbours, and that server, do not hear of it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import anyTest, { type ExecutionContext, type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { ContainerSpec, ImageSource } from '../../../src/container/spec.js';
import { criuProblem } from '../container/checkpoint-kit.js';
import { inside, log, operate, until } from '../container/harness.js';
import { bootFrom, countsOn, fileOf, memoryBed, memorySnapshot, portSpec, type MemoryBed } from '../container/memory-kit.js';

const problem = await criuProblem();
const test = anyTest as TestFn<{ bed: MemoryBed; source: ContainerSpec; image: ImageSource; addresses: readonly string[] }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/network/restore-silence: ${problem}\n`);

const bridge = 'brqhtsi';
const child = join(dirname(fileURLToPath(import.meta.url)), '../container/fault-child.js');

/**
 * A peer on the bridge: asks for each address by ARP or neighbour solicitation, again and again, until the file STOP is there and it
 * has asked 20 times; notes every MAC that claims one of them, in an answer, an announcement, or as the sender of a packet.
 */
const peer = `
import json, os, select, socket, struct, sys, time
device, stop, addresses = sys.argv[1], sys.argv[2], sys.argv[3:]
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); link.bind((device, 0))
mac = link.getsockname()[4]
six = lambda text: socket.inet_pton(socket.AF_INET6, text)
four = {socket.inet_aton(a): a for a in addresses if ':' not in a}
long = {six(a): a for a in addresses if ':' in a}
me = six('fe80::1234')
def solicit(target):
    group = six('ff02::1:ff00:0')[:13] + target[13:]
    body = struct.pack('!BBHI', 135, 0, 0, 0) + target + b'\\x01\\x01' + mac
    total = me + group + struct.pack('!II', len(body), 58) + body
    total += b'\\0' * (len(total) % 2)
    s = sum(struct.unpack('!%dH' % (len(total) // 2), total))
    while s >> 16: s = (s & 0xffff) + (s >> 16)
    body = body[:2] + struct.pack('!H', ~s & 0xffff) + body[4:]
    return b'\\x33\\x33' + group[12:] + mac + b'\\x86\\xdd' + struct.pack('!IHBB', 0x60000000, len(body), 58, 255) + me + group + body
def ask(target):
    return b'\\xff' * 6 + mac + b'\\x08\\x06' + struct.pack('!HHBBH', 1, 0x800, 6, 4, 1) + mac + socket.inet_aton('10.90.0.1') + b'\\0' * 6 + target
claims = {a: {} for a in addresses}
def note(address, who):
    who = who.hex(':'); claims[address][who] = claims[address].get(who, 0) + 1
rounds = 0
while not os.path.exists(stop) or rounds < 20:
    for frame in [ask(t) for t in four] + [solicit(t) for t in long]: link.send(frame)
    rounds += 1
    end = time.monotonic() + 0.01
    while True:
        ready, _, _ = select.select([link], [], [], max(0, end - time.monotonic()))
        if not ready: break
        f = link.recv(65535)
        if f[6:12] == mac: continue
        if f[12:14] == b'\\x08\\x06' and f[28:32] in four: note(four[f[28:32]], f[22:28])
        if f[12:14] == b'\\x08\\x00' and f[26:30] in four: note(four[f[26:30]], f[6:12])
        if f[12:14] == b'\\x86\\xdd':
            if f[22:38] in long: note(long[f[22:38]], f[6:12])
            if f[20] == 58 and f[54] in (135, 136) and f[62:78] in long and (f[54] == 136 or f[22:38] == b'\\0' * 16): note(long[f[62:78]], f[6:12])
print(json.dumps({'rounds': rounds, 'claims': claims}))
`;

interface Heard {
  readonly rounds: number;
  /** Address to MAC to how often it claimed it. */
  readonly claims: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

/** What a peer hears of `addresses` while `work` is done, and after it. */
async function heard(bed: MemoryBed, addresses: readonly string[], work: () => Promise<unknown>): Promise<Heard> {
  const [script, stop] = ['peer.py', 'stop'].map((name) => join(bed.folder, name)) as [string, string];
  await rm(stop, { force: true });
  await writeFile(script, peer);
  const process_ = spawn('python3', [script, bridge, stop, ...addresses], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(process_, 'close');
  let text = '';
  process_.stdout.setEncoding('utf8').on('data', (chunk: string) => { text += chunk; });
  await work().finally(() => writeFile(stop, ''));
  await ended;
  return JSON.parse(text) as Heard;
}

const macOf = (spec: ContainerSpec): string => spec.vifs[0]?.mac ?? '';
const addressesOf = (spec: ContainerSpec): string[] => spec.vifs.flatMap((vif) => vif.addresses.map(({ address }) => address));

test.before(async (t) => {
  if (problem !== undefined) return;
  const bed = await memoryBed(bridge);
  const source = await bootFrom(bed, bed.image);
  await countsOn(bed.host, source.id, 2);
  const own = JSON.parse(await run('nsenter', [`--net=/proc/${(await bed.host.view(source.id)).pid}/ns/net`, 'ip', '-json', '-6', 'address', 'show', 'dev', 'eth0', 'scope', 'link']).then(({ stdout }) => stdout)) as { addr_info: { local?: string }[] }[];
  const linkLocal = own.flatMap(({ addr_info }) => addr_info.flatMap(({ local }) => local ?? []));
  t.context = { bed, source, image: (await memorySnapshot(bed, source.id)).image, addresses: [...addressesOf(source), ...linkLocal] };
  t.is(linkLocal.length, 1);
});
test.after.always((t) => t.context.bed?.end());

/** The source alone claims its addresses, and does. */
function onlyTheSource(t: ExecutionContext, { rounds, claims }: Heard, source: ContainerSpec, addresses: readonly string[]): void {
  t.log(JSON.stringify({ rounds, claims }));
  for (const address of addresses) t.deepEqual(Object.keys(claims[address] ?? {}), [macOf(source)], address);
}

real('when its processes run and it is not yet itself: silent about the other one\'s addresses, not about its own', async (t) => {
  const { bed, source, image, addresses } = t.context;
  const clone = portSpec(bed, image);
  await bed.host.stop();
  const end = await run(process.execPath, [child, JSON.stringify(bed.options), JSON.stringify(clone), 'bootMemory', fileOf(bed, image.id)], { env: { ...process.env, HAULIER_FAULT: 'kill:container.resume.identity' } }).then(() => 'went through', (error: Error) => error.message);
  t.regex(end, /signal SIGKILL/);
  const pid = (await readFile(bed.host.parts.store.paths(clone.id).pidFile, 'utf8')).trim();
  const net = ['nsenter', `--net=/proc/${pid}/ns/net`] as const;
  const here = async (): Promise<string> => (await run(net[0], [net[1], 'sh', '-c', 'ip -o address; cat /proc/sys/net/ipv4/conf/eth0/arp_ignore /proc/sys/net/ipv4/conf/eth0/arp_announce /proc/sys/net/ipv6/ip_nonlocal_bind'])).stdout;
  t.true((await here()).includes(`${addressesOf(source)[0]}/32`), 'they are there');

  onlyTheSource(t, await heard(bed, addresses, () => Promise.resolve()), source, addresses);
  const own = (await heard(bed, addressesOf(clone), () => Promise.resolve())).claims;
  for (const address of addressesOf(clone)) t.deepEqual(Object.keys(own[address] ?? {}), [macOf(clone)], address);
  // what it asks for itself names none of them either, even where a program sends as the other one
  const asked = await heard(bed, addresses, () => run(net[0], [net[1], 'python3', '-c', `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('${addressesOf(source)[0]}', 0))
for last in range(200, 220): s.sendto(b'x', ('10.90.0.%d' % last, 9))
`]));
  const arp = Object.keys(asked.claims[addressesOf(source)[0] ?? ''] ?? {});
  t.deepEqual(arp, [macOf(source)]);

  const next = new LocalContainerHost(bed.options, log);
  await next.start();
  await countsOn(next, clone.id, 2);
  const after = await here();
  t.false(addresses.some((address) => after.includes(`${address}/`)), after);
  const defaults = (await run(net[0], [net[1], 'sh', '-c', 'cat /proc/sys/net/ipv4/conf/default/arp_ignore /proc/sys/net/ipv4/conf/default/arp_announce'])).stdout.trim().split('\n');
  t.deepEqual(after.trim().split('\n').slice(-3), [...defaults, '0']);
  await operate((operation) => next.destroy(clone.id, operation));
  await next.stop();
  await bed.host.start();
});

real('from the first to the last moment of a boot', async (t) => {
  const { bed, source, image, addresses } = t.context;
  const clones: ContainerSpec[] = [];
  onlyTheSource(t, await heard(bed, addresses, async () => {
    for (let round = 0; round < 3; round++) clones.push(await bootFrom(bed, image));
  }), source, addresses);
  for (const clone of clones) {
    await countsOn(bed.host, clone.id, 2);
    await until('it answers', () => run('ping', ['-c1', '-W1', addressesOf(clone)[0] ?? '']).then(() => true, () => false));
    t.is(await inside(bed, clone.id, 'hostname'), clone.hostname);
    await operate((operation) => bed.host.destroy(clone.id, operation));
  }
});
