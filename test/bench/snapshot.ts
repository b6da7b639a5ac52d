/**
 * What a snapshot costs: how long the guest stands still for changes of several sizes, and how fast a 500 MB root file system
 * comes out, beside plain `tar` of the same tree in the same run. Run in a host: `node dist/test/bench/snapshot.js [folder on another file system]`.
 */
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { run } from '../../src/base/run.js';
import { startPiped } from '../../src/container/image/piped-process.js';
import { imageOf, inside, makeBed, makeSpec, operate, type Bed } from '../host/container/harness.js';

const mib = 1024 ** 2;
const round = (value: number): string => value.toFixed(value < 10 ? 1 : 0);

async function drain(bytes: AsyncIterable<Buffer>): Promise<number> {
  let total = 0;
  for await (const chunk of bytes) total += chunk.length;
  return total;
}

async function timed<T>(work: () => Promise<T>): Promise<[T, number]> {
  const began = performance.now();
  const result = await work();
  return [result, performance.now() - began];
}

async function snapshot(bed: Bed, id: string): Promise<{ frozenMs: number; takenMs: number; wholeMs: number; bytes: number }> {
  const began = performance.now();
  const taken = await operate((operation) => bed.host.snapshot(id, operation));
  const takenMs = performance.now() - began;
  try {
    return { bytes: await drain(taken.stream), frozenMs: taken.frozenMs, takenMs, wholeMs: performance.now() - began };
  } finally {
    await taken.end();
  }
}

const [parent] = process.argv.slice(2);
const folder = parent === undefined ? undefined : await mkdtemp(join(parent, 'bench-'));
if (folder) await chmod(folder, 0o755);
const bed = await makeBed({ ...(folder ? { instancesPath: folder } : {}) });
const scratch = await mkdtemp('/var/lib/nova/bench-');
try {
  const tree = join(scratch, 'tree');
  await mkdir(tree);
  await pipeline(await bed.image.open(new AbortController().signal), createWriteStream(join(scratch, 'base.tar')));
  await run('tar', ['-C', tree, '-xf', join(scratch, 'base.tar')]);
  await run('cp', ['-a', '/usr/lib', '/usr/share', join(tree, 'var')], { timeoutMs: 300_000 });
  const size = Number((await run('du', ['-sm', tree])).stdout.split('\t')[0]);
  const image = await imageOf(tree, join(scratch, 'image.tar'));
  await operate((operation) => bed.host.ensureImage({ ...image, checksum: undefined }, operation));
  const spec = makeSpec(image);
  await operate((operation) => bed.host.create({ ...spec, limits: { ...spec.limits, rootGiB: 4, memoryMiB: 1024 } }, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));

  console.log(`tree ${size} MiB; host file system ${(await run('stat', ['-f', '-c', '%T', bed.options.instancesPath])).stdout.trim()}`);
  // a guest that writes all the time, or its disk is copied without standing still
  await inside(bed, spec.id, 'sh', '-c', '(while :; do date >> /root/log; sync; done) >/dev/null 2>&1 &');
  let written = 0;
  for (const change of [0, 16, 128, 512, 1024]) {
    if (change > written) await inside(bed, spec.id, 'sh', '-c', `i=${written}; while [ $i -lt ${change} ]; do dd if=/dev/urandom of=/root/data$i bs=1M count=8 2>/dev/null; i=$((i+8)); done`);
    written = change;
    const samples = [];
    for (let round_ = 0; round_ < 3; round_++) samples.push(await snapshot(bed, spec.id));
    const frozen = samples.map((sample) => sample.frozenMs).sort((a, b) => a - b);
    const best = samples.reduce((a, b) => (a.wholeMs < b.wholeMs ? a : b));
    console.log(`${change} MiB changed: frozen ${frozen.map(round).join(' ')} ms; taken ${round(best.takenMs)} ms; whole ${round(best.wholeMs)} ms, ${round(best.bytes / mib)} MiB, ${round((size + change) / (best.wholeMs / 1000))} MiB/s of tree`);
  }
  const rootfs = join(bed.options.instancesPath, spec.id, 'rootfs');
  for (const [name, packer] of [['tar', ''], ['tar | zstd -1', '| zstd -q -c -1 -T1'], ['tar | zstd -1 -T2', '| zstd -q -c -1 -T2'], ['tar | zstd -3', '| zstd -q -c -3 -T1'], ['tar | gzip -1', '| gzip -1']] as const) {
    const [bytes, ms] = await timed(() => drain(startPiped(['sh', '-c', `tar -C ${rootfs} --sparse --one-file-system -cf - . 2>/dev/null ${packer}`]).stdout));
    console.log(`bare ${name}: ${round(ms)} ms, ${round(bytes / mib)} MiB, ${round((size + written) / (ms / 1000))} MiB/s of tree`);
  }
} finally {
  await bed.end();
  await rm(scratch, { recursive: true, force: true });
  if (folder) await rm(folder, { recursive: true, force: true });
}
