/** A guest that says numbers to whoever connects, a client outside that checks them, and hauls of it. */
import { once } from 'node:events';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../../src/base/run.js';
import type { ContainerSpec, ImageSource, VifSpec } from '../../../src/container/spec.js';
import { busyboxImage, imageOf, makeSpec, makeVif, until } from '../container/harness.js';
import type { Command, HaulAccount } from './agent.js';
import { hostBridge, type TestHost } from './hosts.js';

/** Beside the numbers it counts in memory and on its disk. */
const inittab = `::sysinit:/etc/init.d/rcS
::respawn:/bin/counter
::respawn:/bin/nc -ll -p 7000 -e /bin/numbers
::shutdown:/bin/sh -c 'echo clean >>/root/ends'
`;
const numbers = `#!/bin/sh
n=0
while :; do n=$((n + 1)); echo $n; [ $((n % 20)) != 0 ] || echo $n >/root/said; usleep 3000; done
`;

/** Its image. */
export async function numbersImage(): Promise<ImageSource> {
  const folder = await mkdtemp(join(tmpdir(), 'numbers-'));
  const base = await busyboxImage();
  await writeFile(join(folder, 'base.tar'), (await base.open(AbortSignal.timeout(60_000))) as unknown as AsyncIterable<Buffer>);
  await run('mkdir', [join(folder, 'tree')]);
  await run('tar', ['-C', join(folder, 'tree'), '-xf', join(folder, 'base.tar')]);
  await writeFile(join(folder, 'tree/etc/inittab'), inittab);
  await writeFile(join(folder, 'tree/bin/numbers'), numbers, { mode: 0o755 });
  return await imageOf(join(folder, 'tree'), join(folder, 'image.tar'));
}

/** Boots one, at 10.99.0.50. */
export async function bootNumbers(host: TestHost, image: ImageSource, change: Partial<ContainerSpec> = {}): Promise<ContainerSpec> {
  const spec = makeSpec(image, { ...change, vifs: [portAt(makeVif({ type: 'bridge', bridge: hostBridge, createBridge: false }, 0), 50)] });
  await host.tell({ do: 'create', id: spec.id, spec });
  await host.tell({ do: 'start', id: spec.id });
  return spec;
}

/** Hauls it. @throws what the source's service says */
export async function haul(id: string, from: TestHost, to: TestHost, how: Pick<Command, 'mode' | 'restart' | 'shared' | 'abortAt' | 'forceAt' | 'atRound' | 'vifs'> = {}): Promise<HaulAccount> {
  const token = (await to.tell({ do: 'expect', id, peer: from.peer, ...how })) as string;
  return (await from.tell({ do: 'haul', id, peer: to.peer, token, ...how })) as HaulAccount;
}

/** How far its counter is; 0 if it does not run there. */
export async function counted(host: TestHost, id: string): Promise<number> {
  return Number((await host.inside('cat', `/proc/${(await host.view(id)).pid}/root/run/count`).catch(() => ({ stdout: '0' }))).stdout);
}

/** A port in the client's network. */
export function portAt(vif: VifSpec, last: number): VifSpec {
  return { ...vif, mtu: 1500, addresses: [{ address: `10.99.0.${last}`, prefixLength: 24 }], plug: { type: 'bridge', bridge: hostBridge, createBridge: false } };
}

/** A client outside that reads numbers, one a line, each one more than the one before. */
export class NumberClient {
  #rest = '';
  last = 0;
  count = 0;
  longestSilenceMs = 0;
  problem: string | undefined;
  #heard = performance.now();

  private constructor(private readonly socket: Socket) {
    socket.on('data', (chunk: Buffer) => this.#take(chunk.toString('latin1')));
    socket.on('error', (error) => { this.problem ??= error.message; });
    socket.on('close', () => { this.problem ??= 'the connection was closed'; });
  }

  static async open(address: string, tcpPort: number): Promise<NumberClient> {
    return await until('the guest listens', async () => {
      const socket = connect(tcpPort, address);
      try {
        await once(socket, 'connect');
        return new NumberClient(socket);
      } catch {
        return undefined;
      }
    }, 120_000);
  }

  #take(text: string): void {
    const now = performance.now();
    this.longestSilenceMs = Math.max(this.longestSilenceMs, now - this.#heard);
    this.#heard = now;
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      const number = Number(line);
      if (this.count > 0 && number !== this.last + 1) this.problem ??= `after ${this.last} came ${line}`;
      this.last = number;
      this.count++;
    }
  }

  /** Waits until so many more have come. @throws with what went wrong */
  async more(count: number): Promise<void> {
    const from = this.count;
    await until(`${count} more numbers`, () => this.problem !== undefined || this.count >= from + count, 180_000);
    if (this.problem !== undefined) throw new Error(this.problem);
  }

  close(): void {
    this.problem ??= 'closed by the test';
    this.socket.destroy();
  }
}
