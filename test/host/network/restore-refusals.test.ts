/** While a container is restored its kernel knows none of its connections yet. A peer that repeats itself in that moment is not refused. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import { connect, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import { criuProblem, leftOvers } from '../container/checkpoint-kit.js';
import { toolsImage } from '../container/tools-image.js';
import { inside, makeBed, makeSpec, makeVif, operate, until, type Bed } from '../container/harness.js';

const problem = await criuProblem();
const test = anyTest as TestFn<{ bed: Bed }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/network/restore-refusals: ${problem}\n`);

const bridge = 'brqhtrf';

/**
 * A peer that says the same again, many times in a millisecond: a segment of the connection, out of its window so that a socket that is there
 * takes no notice, and a datagram. Prints what refused it, until the file STOP is there.
 */
const peer = `
import json, os, socket, struct, sys
device, stop, mac, port = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3].replace(':', '')), int(sys.argv[4])
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); link.bind((device, 0)); link.settimeout(0.0005)
me, it = socket.inet_aton('10.90.0.1'), socket.inet_aton('10.90.0.5')
def summed(data):
    data += b'\\0' * (len(data) % 2)
    s = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while s >> 16: s = (s & 0xffff) + (s >> 16)
    return ~s & 0xffff
def packet(protocol, body):
    head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(body), 7, 0, 64, protocol, 0, me, it)
    return mac + link.getsockname()[4] + b'\\x08\\x00' + head[:10] + struct.pack('!H', summed(head)) + head[12:] + body
segment = struct.pack('!HHIIBBHHH', port, 7000, 1, 1, 0x50, 0x10, 1000, 0, 0)
segment = segment[:16] + struct.pack('!H', summed(me + it + struct.pack('!BBH', 0, 6, len(segment)) + segment)) + segment[18:]
frames = [packet(6, segment), packet(17, struct.pack('!HHHH', 5000, 7001, 9, 0) + b'x')]
sent, resets, unreachable = 0, 0, 0
while not os.path.exists(stop):
    for frame in frames: link.send(frame)
    sent += 1
    try:
        while True:
            f = link.recv(65535)
            if f[12:14] != b'\\x08\\x00' or f[26:30] != it: continue
            if f[23] == 6 and f[47] & 4: resets += 1
            if f[23] == 1 and f[34] == 3: unreachable += 1
    except (TimeoutError, socket.timeout): pass
print(json.dumps({'sent': sent > 0, 'resets': resets, 'unreachable': unreachable}))
`;

test.before(async (t) => {
  if (problem !== undefined) return;
  t.context.bed = await makeBed();
  for (const command of [['link', 'add', bridge, 'type', 'bridge'], ['addr', 'add', '10.90.0.1/24', 'dev', bridge], ['link', 'set', bridge, 'up']]) await run('ip', command);
});
test.after.always(async (t) => {
  await t.context.bed?.end();
  if (problem === undefined) await run('ip', ['link', 'del', bridge], { okCodes: [0, 1] });
});

real('neither by a reset nor by "port unreachable"; afterwards it refuses again', async (t) => {
  const { bed } = t.context;
  const image = await toolsImage(false);
  await operate((operation) => bed.host.ensureImage(image, operation));
  const spec = makeSpec(image, { vifs: [makeVif({ type: 'bridge', bridge, createBridge: true }, 0)] });
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await inside(bed, spec.id, 'sh', '-c', '(nc -ll -p 7000 -e cat & python3 -c "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((\'\', 7001))\nwhile True: s.recv(9)" &) </dev/null >/dev/null 2>&1');
  await until('it listens', async () => /:1B58 .*\n(.*\n)*.*:1B59 /.test(await inside(bed, spec.id, 'cat', '/proc/net/tcp', '/proc/net/tcp6', '/proc/net/udp')));
  const socket = connect(7000, '10.90.0.5');
  await once(socket, 'connect');
  let heard = '';
  let ended = false;
  socket.on('data', (data) => { heard += data.toString(); }).on('close', () => { ended = true; }).on('error', () => undefined);
  const [script, stop] = ['peer.py', 'stop'].map((name) => join(bed.options.runPath, name)) as [string, string];
  await writeFile(script, peer);
  for (let round = 0; round < 5; round++) {
    await operate((operation) => bed.host.suspend(spec.id, operation));
    await rm(stop, { force: true });
    const process_ = spawn('python3', [script, bridge, stop, spec.vifs[0]?.mac ?? '', String((socket.address() as AddressInfo).port)], { stdio: ['ignore', 'pipe', 'inherit'] });
    const closed = once(process_, 'close');
    let text = '';
    process_.stdout.setEncoding('utf8').on('data', (chunk: string) => { text += chunk; });
    await operate((operation) => bed.host.resume(spec.id, operation)).finally(() => writeFile(stop, ''));
    await closed;
    t.deepEqual(JSON.parse(text), { sent: true, resets: 0, unreachable: 0 });
    socket.write(`word ${round}\n`);
    await until('the connection goes on', () => ended || heard.includes(`word ${round}\n`));
    t.false(ended);
  }
  const refused = connect(7002, '10.90.0.5');
  const [error] = (await once(refused, 'error')) as [NodeJS.ErrnoException];
  t.is(error.code, 'ECONNREFUSED');
  t.false((await run('/usr/sbin/nft', ['list', 'tables'])).stdout.includes('haulier-hush'));
  socket.destroy();
  await operate((operation) => bed.host.destroy(spec.id, operation));
  t.deepEqual(await leftOvers(bed, spec), []);
});
