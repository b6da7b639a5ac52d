/**
 * A live haul beside the bare runc and criu commands (lib/bare-haul.ts) that do the same, between the same two hosts, in turns in one run.
 * `node dist/test/bench/haul.js [MIB]...` in a Haulier host. A line of JSON for each size of random memory and guest (idle, or
 * writing to 4 MiB of its memory): medians in milliseconds, bytes that came over the wire, spread.
 *
 * Silence is the longest time in which a client outside, which gets a number every 2 ms on one TCP connection, hears nothing: the
 * one figure that both have in common to the last detail. It is the next retransmission after the true gap if that is longer than about 0.2 s.
 * Haulier's container is one more process (an init), has a user namespace and an overlay on a disk of its own; the bare one's files are in memory.
 * Stop-and-copy only. HAULIER_BENCH_ROUNDS: there and backs (5).
 */
import { rmSync } from 'node:fs';
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ContainerSpec, ImageSource } from '../../src/container/spec.js';
import { makeHosts, type TestHost } from '../host/haul/hosts.js';
import { askMemory, bootMemory, memoryImage } from '../host/haul/memory-guest.js';
import { haul, NumberClient } from '../host/haul/numbers.js';
import { Authority } from '../lib/certificates.js';
import { BareContainer } from './lib/bare-haul.js';
import { median } from './lib/figures.js';

const rounds = Number(process.env['HAULIER_BENCH_ROUNDS'] ?? 5);
const sizes = process.argv.slice(2).map(Number);
const mode = 'stop-and-copy';
const [ours, bares] = [60, 70];

interface Figures { readonly silence: number[]; readonly frozen: number[]; readonly total: number[]; readonly bytes: number[] }
const figures = (): Figures => ({ silence: [], frozen: [], total: [], bytes: [] });
const medians = (of: Figures): Record<string, number> => Object.fromEntries(Object.entries(of).map(([name, values]) => [name, Math.round(median(values as number[]))]));

const received = async (host: TestHost): Promise<number> => Number((await host.inside('cat', '/sys/class/net/move0/statistics/rx_bytes')).stdout);

/** One move of either, watched from outside. */
async function watched(into: Figures, client: NumberClient, to: TestHost, work: () => Promise<{ readonly frozenMs: number; readonly totalMs: number }>): Promise<void> {
  await client.more(100);
  const before = await received(to);
  client.longestSilenceMs = 0;
  const { frozenMs, totalMs } = await work();
  into.bytes.push((await received(to)) - before);
  await client.more(100);
  into.silence.push(client.longestSilenceMs);
  into.frozen.push(frozenMs);
  into.total.push(totalMs);
}

async function measure(a: TestHost, b: TestHost, bare: BareContainer, spec: ContainerSpec, row: { readonly mib: number; readonly guest: 'idle' | 'writing' }): Promise<void> {
  const [theirs, mine] = [figures(), figures()];
  const clients = { bare: await NumberClient.open(`10.99.0.${bares}`, 7000), ours: await NumberClient.open(`10.99.0.${ours}`, 7000) };
  for (let round = 0; round < rounds * 2; round++) {
    const [from, to] = round % 2 === 0 ? [a, b] : [b, a];
    const busy = async (last: number, work: () => Promise<void>): Promise<void> => {
      if (row.guest === 'writing') await askMemory(last, 'write 20 4');
      await work();
      await askMemory(last, 'write 0');
      await sleep(300);
    };
    await busy(bares, () => watched(theirs, clients.bare, to, () => bare.move(from, to)));
    await busy(ours, () => watched(mine, clients.ours, to, async () => {
      const { result } = await haul(spec.id, from, to, { mode });
      if (result.mode !== mode) throw new Error(`${result.mode}: ${result.reason}`);
      return result;
    }));
  }
  for (const client of Object.values(clients)) client.close();
  for (const last of [ours, bares]) if ((await askMemory(last, 'sum')) !== 'whole') throw new Error(`the memory of 10.99.0.${last} is damaged`);
  const [bareSilence, silence] = [median(theirs.silence), median(mine.silence)];
  process.stdout.write(`${JSON.stringify({
    ...row, mode, moves: rounds * 2, load: Number(loadavg()[0]?.toFixed(1)), bare: medians(theirs), haulier: medians(mine),
    ratio: Number((silence / bareSilence).toFixed(2)), overMs: Math.round(silence - bareSilence), withinGoal: silence <= bareSilence * 1.15 + 30,
    spread: { bare: theirs.silence.map(Math.round), haulier: mine.silence.map(Math.round) },
  })}\n`);
}

async function measureSize(a: TestHost, b: TestHost, image: ImageSource, mib: number): Promise<void> {
  const spec = await bootMemory(a, image, ours, mib);
  const bare = await BareContainer.boot(a, [a, b], image, bares);
  try {
    for (let tries = 0; (await askMemory(bares, `fill ${mib}`).catch(() => '')) !== 'filled'; tries++) {
      if (tries > 100) throw new Error('the bare container does not answer');
      await sleep(200);
    }
    for (const guest of ['idle', 'writing'] as const) await measure(a, b, bare, spec, { mib, guest });
  } finally {
    await bare.end([a, b]);
  }
  await a.tell({ do: 'destroy', id: spec.id });
}

const authority = new Authority();
const { a, b, end } = await makeHosts(authority, { policy: { mode, permitPostCopy: false } });
try {
  const image = await memoryImage();
  for (const host of [a, b]) {
    await host.start();
    await host.takeImage(image);
  }
  for (const mib of sizes.length > 0 ? sizes : [16, 128, 1024]) await measureSize(a, b, image, mib);
} finally {
  await end();
  rmSync(authority.folder, { recursive: true, force: true });
}
process.exit(0);
