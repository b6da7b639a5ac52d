/**
 * A live haul beside the bare runc and criu commands (lib/bare-haul.ts) that do the same, between the same two hosts, in turns in one run.
 * `node dist/test/bench/haul.js [MODE]... [MIB]...` in a Haulier host. A line of JSON for each size of random memory, mode and guest
 * (idle, or writing to 4 MiB of its memory): medians in milliseconds, bytes that came over the wire, parts of the frozen time, spread, and whether the
 * silence is within the goal: 1.15 times that of the bare commands and 30 ms, and with post-copy below 200 ms.
 *
 * Silence is the longest time in which a client outside, which gets a number every 2 ms on one TCP connection, hears nothing: the
 * one figure that both have in common to the last detail. Where a segment was lost it is the next retransmission after the true gap.
 * `frozen` is from the freeze to the word that it runs: without what only the client's TCP adds.
 * HAULIER_BENCH_ROUNDS: there and backs (4; half as many from 512 MiB on).
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ContainerSpec, ImageSource } from '../../src/container/spec.js';
import { frozenParts, type FrozenParts, type MemoryMode } from '../../src/haul/progress.js';
import { until } from '../host/container/harness.js';
import { makeHosts, type TestHost } from '../host/haul/hosts.js';
import { askMemory, bootMemory, memoryImage } from '../host/haul/memory-guest.js';
import { haul } from '../host/haul/numbers.js';
import { Authority } from '../lib/certificates.js';
import { BareContainer, type BareMove } from './lib/bare-haul.js';
import { median } from './lib/figures.js';
import { Listener } from './lib/listener.js';

const rounds = Number(process.env['HAULIER_BENCH_ROUNDS'] ?? 4);
const manyMiB = 512;
const allModes: readonly MemoryMode[] = ['stop-and-copy', 'post-copy'];
const named = process.argv.slice(2);
const modes = allModes.filter((mode) => named.includes(mode));
const sizes = named.map(Number).filter((size) => size > 0);
const [ours, bares] = [60, 70];
const goal = { times: 1.15, plusMs: 30, postCopyMs: 200 };
const setting = '/proc/sys/vm/unprivileged_userfaultfd';

interface Figures { readonly silence: number[]; readonly frozen: number[]; readonly total: number[]; readonly bytes: number[] }
const figures = (): Figures => ({ silence: [], frozen: [], total: [], bytes: [] });
const medians = (of: Figures): Record<string, number> => Object.fromEntries(Object.entries(of).map(([name, values]) => [name, Math.round(median(values as number[]))]));

const received = async (host: TestHost): Promise<number> => Number((await host.inside('cat', '/sys/class/net/move0/statistics/rx_bytes')).stdout);

interface Row { readonly mib: number; readonly mode: MemoryMode; readonly guest: 'idle' | 'writing' }

/** One move of either, watched from outside. */
async function watched(into: Figures, client: Listener, last: number, row: Row, to: TestHost, work: () => Promise<{ readonly frozenMs: number; readonly totalMs: number }>): Promise<void> {
  if (row.guest === 'writing') await askMemory(last, 'write 20 4');
  const before = await received(to);
  await client.reset();
  const { frozenMs, totalMs } = await work();
  into.bytes.push((await received(to)) - before);
  into.silence.push(await client.silenceMs());
  into.frozen.push(frozenMs);
  into.total.push(totalMs);
  await askMemory(last, 'write 0');
  await sleep(200);
}

async function measure(a: TestHost, b: TestHost, bare: BareContainer, spec: ContainerSpec, row: Row): Promise<void> {
  const [theirs, mine] = [figures(), figures()];
  const { mode, mib, guest } = row;
  const [parts, bareParts]: [FrozenParts[], BareMove['parts'][]] = [[], []];
  const clients = { bare: await Listener.open(`10.99.0.${bares}`), ours: await Listener.open(`10.99.0.${ours}`) };
  const moves = 2 * Math.ceil(mib >= manyMiB ? rounds / 2 : rounds);
  for (let move = 0; move < moves; move++) {
    const [from, to] = move % 2 === 0 ? [a, b] : [b, a];
    await watched(theirs, clients.bare, bares, row, to, async () => {
      const result = await bare.move(from, to, mode);
      bareParts.push(result.parts);
      return result;
    });
    await watched(mine, clients.ours, ours, row, to, async () => {
      const { result } = await haul(spec.id, from, to, { mode });
      if (result.mode !== mode) throw new Error(`${result.mode}: ${result.reason}`);
      parts.push(result.frozenParts);
      return result;
    });
  }
  for (const client of Object.values(clients)) await client.close();
  for (const last of [ours, bares]) if ((await askMemory(last, 'sum')) !== 'whole') throw new Error(`the memory of 10.99.0.${last} is damaged`);
  const [bareSilence, silence] = [median(theirs.silence), median(mine.silence)];
  process.stdout.write(`${JSON.stringify({
    mib, mode, guest, moves, load: Number(loadavg()[0]?.toFixed(1)), bare: medians(theirs), haulier: medians(mine),
    bareParts: Object.fromEntries((['dump', 'send', 'restore'] as const).map((part) => [part, Math.round(median(bareParts.map((each) => each[part])))])),
    parts: Object.fromEntries(frozenParts.map((part) => [part, Math.round(median(parts.map((each) => each[part] ?? 0)))])),
    ratio: Number((silence / bareSilence).toFixed(2)), overMs: Math.round(silence - bareSilence),
    withinGoal: silence <= bareSilence * goal.times + goal.plusMs && (mode !== 'post-copy' || silence < goal.postCopyMs),
    spread: { bare: theirs.silence.map(Math.round), haulier: mine.silence.map(Math.round) },
  })}\n`);
}

async function measureSize(a: TestHost, b: TestHost, image: ImageSource, mib: number): Promise<void> {
  const spec = await bootMemory(a, image, ours, mib);
  const bare = await BareContainer.boot(a, [a, b], image, bares);
  try {
    await until('the bare container answers', async () => (await askMemory(bares, `fill ${mib}`).catch(() => '')) === 'filled');
    for (const mode of modes.length > 0 ? modes : allModes) {
      for (const guest of ['idle', 'writing'] as const) await measure(a, b, bare, spec, { mib, mode, guest });
    }
  } finally {
    await bare.end([a, b]);
  }
  await a.tell({ do: 'destroy', id: spec.id });
}

const before = readFileSync(setting, 'utf8');
const authority = new Authority();
const { a, b, end } = await makeHosts(authority, { policy: { mode: 'stop-and-copy', permitPostCopy: true } });
try {
  writeFileSync(setting, '1');
  const image = await memoryImage();
  for (const host of [a, b]) {
    await host.start();
    await host.takeImage(image);
  }
  for (const mib of sizes.length > 0 ? sizes : [16, 128, 1024]) await measureSize(a, b, image, mib);
} finally {
  await end();
  writeFileSync(setting, before);
  rmSync(authority.folder, { recursive: true, force: true });
}
process.exit(0);
