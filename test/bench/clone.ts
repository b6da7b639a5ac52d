/**
 * How soon a slow application answers: booted cold, and resumed from a snapshot with memory, in turns in one run.
 * `node dist/test/bench/clone.js [SERVERS AT ONCE]` in a Haulier host; prints JSON, times in milliseconds from the order to the first answer.
 */
import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { connect } from 'node:net';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../../src/base/run.js';
import type { ContainerSpec, ImageSource } from '../../src/container/spec.js';
import { imageOf, operate } from '../host/container/harness.js';
import { memoryBed, memorySnapshot, portSpec, type MemoryBed } from '../host/container/memory-kit.js';
import { toolsImage } from '../host/container/tools-image.js';

const rounds = Number(process.env['HAULIER_BENCH_ROUNDS'] ?? 5);
const atOnce = Number(process.argv[2] ?? 4);

/** What a slow start is made of: modules, and a table that is computed; 3 s or so of one processor. */
const application = `
import time, json, decimal, email.mime.text, http.server, sqlite3, ssl, unittest, xml.dom.minidom
began = time.process_time()
table = {}
n = 0
while time.process_time() - began < 3:
    n += 1; table[n % 300000] = str(n) * 3  # no more than fits into the memory
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(len(table)).encode()
        self.send_response(200); self.send_header('content-length', str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(('0.0.0.0', 8000), Handler).serve_forever()
`;
async function applicationImage(): Promise<ImageSource> {
  const folder = await mkdtemp(join(tmpdir(), 'app-'));
  const tree = join(folder, 'tree');
  const base = await toolsImage(false);
  await pipeline(await base.open(AbortSignal.timeout(60_000)), createWriteStream(join(folder, 'base.tar')));
  await run('mkdir', [tree]);
  await run('tar', ['-C', tree, '-xf', join(folder, 'base.tar')]);
  await writeFile(join(tree, 'app.py'), application);
  await writeFile(join(tree, 'etc/inittab'), '::sysinit:/etc/init.d/rcS\n::respawn:/usr/bin/python3 /app.py\n');
  return imageOf(tree, join(folder, 'image.tar'));
}

async function answers(address: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(8000, address, () => socket.write('GET / HTTP/1.0\r\n\r\n'));
    socket.setTimeout(500, () => socket.destroy());
    socket.once('data', (data: Buffer) => { resolve(data.includes('200 OK')); socket.destroy(); });
    socket.once('error', () => resolve(false)).once('close', () => resolve(false));
  });
}

const limits = { vcpus: 1, cpuShares: undefined, cpuQuota: undefined, cpuPeriod: undefined, memoryMiB: 512, swapMiB: 0, pids: 100, rootGiB: 1 };

/** From the order to the first answer, and to the container's running. */
async function boot(bed: MemoryBed, image: ImageSource): Promise<{ readonly spec: ContainerSpec; readonly running: number; readonly answer: number }> {
  const spec = portSpec(bed, image, { limits });
  const began = performance.now();
  await operate(async (operation) => {
    await bed.host.ensureImage(image, operation);
    await bed.host.create(spec, operation);
    await bed.host.startContainer(spec.id, operation);
  });
  const running = performance.now() - began;
  while (!(await answers(spec.vifs[0]?.addresses[0]?.address ?? ''))) await sleep(10);
  return { spec, running, answer: performance.now() - began };
}

const median = (values: readonly number[]): number => Math.round([...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN);
const whole = (values: readonly number[]): number[] => values.map(Math.round);

async function measure(bed: MemoryBed): Promise<void> {
  const image = await applicationImage();
  await operate((operation) => bed.host.ensureImage(image, operation));
  const source = await boot(bed, image);
  const began = performance.now();
  const { image: memory, snapshot } = await memorySnapshot(bed, source.spec.id);
  const taken = performance.now() - began;
  const unpacking = performance.now();
  await operate((operation) => bed.host.ensureImage(memory, operation));
  const unpacked = performance.now() - unpacking;
  await operate((operation) => bed.host.destroy(source.spec.id, operation));
  const results = { cold: [] as number[], coldRunning: [] as number[], clone: [] as number[], cloneRunning: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    for (const [from, into, until] of [[image, results.cold, results.coldRunning], [memory, results.clone, results.cloneRunning]] as const) {
      const made = await boot(bed, from);
      into.push(made.answer);
      until.push(made.running);
      await operate((operation) => bed.host.destroy(made.spec.id, operation));
    }
  }
  const many = async (from: ImageSource): Promise<number> => {
    const start = performance.now();
    const made = await Promise.all(Array.from({ length: atOnce }, () => boot(bed, from)));
    const ms = performance.now() - start;
    for (const { spec } of made) await operate((operation) => bed.host.destroy(spec.id, operation));
    return ms;
  };
  const [manyClones, manyCold] = [await many(memory), await many(image)];
  process.stdout.write(`${JSON.stringify({
    run: randomUUID().slice(0, 8), rounds, imageBytes: memory.size, memoryMiB: snapshot.memory?.memoryMiB, frozenMs: Math.round(snapshot.frozenMs), takenMs: Math.round(taken), unpackedMs: Math.round(unpacked),
    cold: { answer: median(results.cold), running: median(results.coldRunning) }, clone: { answer: median(results.clone), running: median(results.cloneRunning) },
    ratio: Number((median(results.cold) / median(results.clone)).toFixed(1)),
    atOnce, many: { cold: Math.round(manyCold), clone: Math.round(manyClones), ratio: Number((manyCold / manyClones).toFixed(1)) },
    spread: { cold: whole(results.cold), clone: whole(results.clone) },
  })}\n`);
}

const bed = await memoryBed('brqhtbench');
try {
  await measure(bed);
} finally {
  await bed.end();
}
process.exit(0);
