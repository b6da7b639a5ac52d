/** A guest that says numbers as the one of numbers.ts does, and holds as much memory as it is told to, whose sum it knows. */
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { ContainerSpec, ImageSource } from '../../../src/container/spec.js';
import { imageOf, makeSpec, makeVif, until } from '../container/harness.js';
import { pythonTree } from '../container/tools-image.js';
import { hostBridge, type TestHost } from './hosts.js';
import { portAt } from './numbers.js';

const inittab = `::sysinit:/etc/init.d/rcS
::respawn:/bin/counter
::respawn:/usr/bin/python3 /bin/hold
`;
const slowCounter = `#!/bin/sh
n=0
while :; do n=$((n + 1)); echo $n > /run/count; sleep 1; done
`;


const hold = `
import mmap, os, socket, threading, time, zlib
parts, scratch, rate, room = [], mmap.mmap(-1, 64 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), [0], [64 << 20]
known = None
pause, kept, writing = [0], {}, threading.Lock()
def total():
    sum = 0
    for part in parts: sum = zlib.crc32(part, sum)
    return sum
def numbers(peer):
    n = 0
    try:
        while True:
            n += 1
            peer.sendall(b"%d\\n" % n)
            time.sleep(0.002)
    except OSError: pass
def commands(peer):
    global known
    word, _, value = peer.makefile().readline().strip().partition(" ")
    if word == "fill":
        words = value.split()
        make = (lambda: os.urandom(1 << 20)) if len(words) == 1 else (lambda: b"".join(b"%d times the same words, " % n for n in range(1 << 16))[:1 << 20])
        parts[:] = [make() for _ in range(int(words[0]))]
        known = total()
        peer.sendall(b"filled")
    elif word == "write":
        words = value.split()
        rate[0] = int(words[0])
        if len(words) > 1: room[0] = int(words[1]) << 20
        peer.sendall(b"writing")
    elif word == "files":
        pause[0] = float(value)
        peer.sendall(b"%d kept" % len(kept))
    else:
        with writing: wrong = [path for path, sum in kept.items() if file(path) != sum]
        peer.sendall(b"whole" if total() == known and not wrong else b"damaged" if not wrong else b"damaged: %s" % ", ".join(wrong).encode())
    peer.close()
def write():
    at = 0
    while True:
        time.sleep(0.01)
        for _ in range(rate[0] * 256 // 100):
            at = (at + 4096) % room[0]
            scratch[at] = (scratch[at] + 1) % 256
def file(path):
    try:
        with open(path, "rb") as text: return zlib.crc32(text.read())
    except OSError as error: return str(error)
def keep():
    n = 0
    while True:
        time.sleep(pause[0] or 0.5)
        if not pause[0]: continue
        n, text = n + 1, os.urandom(20_000)
        path = "/root/kept-%d" % (n % 50)
        with writing:
            with open("/root/next", "wb") as file: file.write(text)
            os.rename("/root/next", path)
            kept[path] = zlib.crc32(text)
def serve(port, handle):
    with socket.create_server(("", port)) as server:
        while True: threading.Thread(target=handle, args=(server.accept()[0],), daemon=True).start()
threading.Thread(target=write, daemon=True).start()
threading.Thread(target=keep, daemon=True).start()
threading.Thread(target=serve, args=(7001, commands), daemon=True).start()
serve(7000, numbers)
`;

/** Its image. @param slow for a slow processor: it says a number and counts less often */
export async function memoryImage(slow = false): Promise<ImageSource> {
  const tree = await pythonTree(['mmap', 'os', 'socket', 'threading', 'time', 'zlib']);
  await writeFile(join(tree, 'etc/inittab'), inittab);
  await writeFile(join(tree, 'bin/hold'), slow ? hold.replace('sleep(0.002)', 'sleep(0.02)').replace('sleep(0.01)', 'sleep(0.1)').replace('// 100', '// 10') : hold);
  if (slow) await writeFile(join(tree, 'bin/counter'), slowCounter, { mode: 0o755 });
  return await imageOf(tree, join(tree, '..', 'image.tar'));
}

const memoryMiB = 1536;

/** Boots one, at 10.99.0.LAST, that holds so much. @param what ` words`: memory that can be compressed */
export async function bootMemory(host: TestHost, image: ImageSource, last: number, mib: number, what: '' | ' words' = ''): Promise<ContainerSpec> {
  const spec = makeSpec(image, {
    vifs: [portAt(makeVif({ type: 'bridge', bridge: hostBridge, createBridge: false }, 0), last)],
    limits: { vcpus: 2, cpuShares: undefined, cpuQuota: undefined, cpuPeriod: undefined, memoryMiB, swapMiB: 0, pids: 100, rootGiB: 1 },
  });
  await host.tell({ do: 'create', id: spec.id, spec });
  await host.tell({ do: 'start', id: spec.id });
  await until('it has filled its memory', async () => (await askMemory(last, `fill ${mib}${what}`).catch(() => '')) === 'filled', 180_000);
  return spec;
}

/** Tells it something. @returns its answer */
export async function askMemory(last: number, command: string): Promise<string> {
  const socket = connect(7001, `10.99.0.${last}`);
  await once(socket, 'connect');
  socket.write(`${command}\n`);
  let answer = '';
  for await (const chunk of socket) answer += String(chunk);
  return answer;
}
