/** Hauls between fake hosts: the container is handed from one to the other in steps at which a test can fail it, hold it, or end a service. */
import { HaulierError } from '../../../src/base/errors.js';
import type { Operation } from '../../../src/base/operation.js';
import type { ComingHaul, Fate, HaulTicket, Introduction, LiveHauls } from '../../../src/compute/live/hauls.js';
import type { HaulMode, HaulOptions, HaulProgress, HaulResult, RestartTiming } from '../../../src/haul/progress.js';
import type { FakeContainers } from './fakes.js';
import type { Steps } from './steps.js';

const mib = 1024 ** 2;

/** The network that joins them. */
export class HaulNet {
  readonly hosts = new Map<string, { readonly hauls: FakeHauls; readonly containers: FakeContainers }>();
}

/** One host's. */
export class FakeHauls implements LiveHauls {
  readonly #expected = new Map<string, ComingHaul>();
  /** Undecided hauls away from here. */
  readonly open = new Map<string, Promise<void>>();
  /** Hauls to here that are undecided. */
  readonly arriving = new Set<string>();
  protocol = '1.0';
  off = false;
  misfit: string | undefined;
  readonly forced: string[] = [];
  mode: HaulMode = 'stop-and-copy';
  /** What each haul was permitted. */
  readonly shared: boolean[] = [];
  readonly restarts: (RestartTiming | undefined)[] = [];
  /** What each haul was told of the ports. */
  readonly came: ComingHaul[] = [];

  constructor(readonly steps: Steps, readonly host: string, readonly net = new HaulNet(), readonly containers?: FakeContainers) {
    if (containers) net.hosts.set(host, { hauls: this, containers });
  }

  async start(): Promise<ReadonlyMap<string, Promise<void>>> {
    await this.steps.pass(`${this.host} hauls.start`);
    return this.open;
  }
  async stop(): Promise<void> { await this.steps.pass(`${this.host} hauls.stop`); }
  async introduce(): Promise<Introduction> {
    if (this.off) throw new HaulierError('HAUL_OFF', { reason: 'haul_ca, haul_cert and haul_key are not set' });
    return { host: this.host, address: '192.0.2.9', port: 8791, protocol: this.protocol, facts: { criu: '4.2', runc: '1.3', kernel: '6.12', architecture: 'x64', cpuModel: 'm', cpuFlags: ['avx'] } };
  }
  async objection(): Promise<string | undefined> { return this.misfit; }
  expect(haul: ComingHaul): HaulTicket {
    this.#expected.set(haul.instance, haul);
    return { address: '192.0.2.9', port: 8791, token: `for ${haul.migration}` };
  }
  expected(instance: string): string | undefined { return this.#expected.get(instance)?.migration; }
  async coming(instance: string): Promise<boolean> { return this.arriving.has(instance); }
  forget(instance: string, migration: string): void { if (this.expected(instance) === migration) this.#expected.delete(instance); }

  async haul(instance: string, to: string, ticket: HaulTicket, operation: Operation, options: HaulOptions): Promise<HaulResult> {
    const there = this.net.hosts.get(to);
    const coming = there && there.hauls.#expected.get(instance);
    if (!there || !coming || ticket.token !== `for ${coming.migration}` || coming.from.host !== this.host) throw new HaulierError('HAUL_REFUSED', { reason: 'no such haul is expected' });
    there.hauls.#expected.delete(instance);
    const step = async (name: string): Promise<void> => {
      const aborted = new Promise<never>((_, reject) => operation.signal.addEventListener('abort', () => reject(operation.signal.reason as Error), { once: true }));
      aborted.catch(() => undefined);
      operation.throwIfAborted();
      await Promise.race([this.steps.pass(name), aborted]);
    };
    options.force?.addEventListener('abort', () => this.forced.push(instance));
    this.restarts.push(options.restart);
    this.shared.push(options.shared === true);
    options.onProgress?.(this.#progress(80));
    await step('haul.copy');
    options.onFrozen?.();
    await step('haul.dump');
    const mine = this.containers?.made.get(instance);
    if (!mine) throw new HaulierError('INSTANCE_NOT_FOUND', { instance });
    await this.steps.pass('haul.offered'); // no abort counts from here on
    there.hauls.came.push(coming);
    there.containers.made.set(instance, { ...mine });
    there.containers.plugged.set(instance, new Set(coming.vifs.map(({ id }) => id)));
    coming.onArrival();
    await this.steps.pass('haul.committed');
    this.containers?.made.delete(instance);
    this.containers?.plugged.delete(instance);
    await this.steps.pass('haul.gone');
    return { mode: this.mode, reason: 'of the fake', frozenMs: 1, frozenParts: {}, totalMs: 2, rounds: [], memoryBytes: 100 * mib, diskBytes: 20 * mib };
  }

  #progress(processed: number): HaulProgress {
    const memory = { total: 100 * mib, processed: processed * mib, remaining: (100 - processed) * mib };
    return { stage: 'copying', mode: this.mode, round: 1, memory, disk: { total: 20 * mib, processed: 5 * mib, remaining: 15 * mib } };
  }

  async fate(instance: string): Promise<Fate> {
    if (this.open.has(instance)) return 'open';
    return this.containers?.made.has(instance) === false ? 'there' : 'here';
  }
}
