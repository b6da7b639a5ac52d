/** `LiveHauls` over the haul room. One listener serves these hauls and those of stopped containers. */
import type { ComingHaul, Fate, HaulTicket, Introduction, LiveHauls } from './hauls.js';
import { HaulierError, messageOf } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { Operation } from '../../base/operation.js';
import { misfits, readHostFacts } from '../../container/checkpoint/facts.js';
import type { LocalContainerHost } from '../../container/local-container-host.js';
import type { ContainerSpec, VifSpec } from '../../container/spec.js';
import { HaulBoard } from '../../haul/board.js';
import { Hauler } from '../../haul/hauler.js';
import type { Outcome } from '../../haul/live/doubt.js';
import type { HaulOptions, HaulResult } from '../../haul/progress.js';
import type { HaulServer } from '../../haul/server.js';
import type { HaulSettings } from '../../haul/settings.js';
import { ownVersion } from '../../haul/wire/greeting.js';

/** How long a ticket is good: neutron's event comes before it is used. */
const ticketMs = 3600_000;

interface Expected { readonly migration: string; cancel(): void }

/** See above. */
export class HaulDoor implements LiveHauls {
  readonly #expected = new Map<string, Expected>();
  /** What people may see of the hauls. */
  readonly board = new HaulBoard();
  #hauler: Hauler | undefined;
  #again: NodeJS.Timeout | undefined;
  #listening: Promise<void> | undefined;
  #stopped = false;

  /** @param listenAgainMs a listener that cannot be had, its address is taken or not there yet, is tried again so often */
  constructor(private readonly containers: LocalContainerHost, private readonly settings: HaulSettings, private readonly log: Log, private readonly listenAgainMs = 15_000) {}

  /** True if this host has what it takes. */
  get equipped(): boolean {
    const { ca, cert, key } = this.settings;
    return [ca, cert, key].every((file) => file !== undefined);
  }

  /** The listener. @throws HAUL_OFF before `start` */
  get server(): HaulServer {
    return this.#started.server;
  }

  get #started(): Hauler {
    if (!this.#hauler) throw new HaulierError('HAUL_OFF', { reason: 'the service is still starting' });
    return this.#hauler;
  }

  async start(): Promise<ReadonlyMap<string, Promise<void>>> {
    const hauler = new Hauler(this.containers.parts, this.settings, this.containers, this.log, this.board);
    this.#hauler = hauler;
    const open = await hauler.start();
    if (!this.equipped) this.log.info('containers do not move to or from this host: haul_ca, haul_cert and haul_key are not set');
    else await (this.#listening = this.#listen(hauler));
    return open;
  }

  async #listen(hauler: Hauler): Promise<void> {
    try {
      await hauler.listen();
      this.log.info({ address: this.settings.address, port: hauler.server.port }, 'listening for hauls');
    } catch (error) {
      this.log.error({ err: error }, `cannot listen for hauls: ${messageOf(error)}`);
      if (this.#stopped) return;
      this.#again = setTimeout(() => { this.#listening = this.#listen(hauler); }, this.listenAgainMs).unref();
    }
  }

  /** Ends the listener. Hauls that are undecided go on at the next start. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#again);
    await this.#listening;
    await this.#hauler?.stop();
  }

  async introduce(): Promise<Introduction> {
    if (!this.equipped) throw new HaulierError('HAUL_OFF', { reason: 'haul_ca, haul_cert and haul_key are not set' });
    const { host, address } = this.settings;
    return { host, address, port: this.server.port, protocol: `${ownVersion.major}.${ownVersion.minor}`, facts: await readHostFacts(this.containers.parts.options) };
  }

  async objection(source: Introduction): Promise<string | undefined> {
    if (source.protocol.split('.')[0] !== String(ownVersion.major)) return `${source.host} speaks version ${source.protocol} of the haul protocol, ${this.settings.host} ${ownVersion.major}.${ownVersion.minor}`;
    return misfits(source.facts, await readHostFacts(this.containers.parts.options))[0];
  }

  expect({ instance, migration, from, vifs, onArrival }: ComingHaul): HaulTicket {
    this.#expected.get(instance)?.cancel();
    const { token, cancel } = this.#started.expect({
      instance, peer: from, ttlMs: ticketMs, respec: (spec) => withVifs(spec, vifs),
      onEnd: (end) => { if ('arrived' in end) onArrival(); },
    });
    this.#expected.set(instance, { migration, cancel });
    return { token, address: this.settings.address, port: this.server.port };
  }

  expected(instance: string): string | undefined {
    return this.#expected.get(instance)?.migration;
  }

  async coming(instance: string): Promise<boolean> {
    return await this.#started.coming(instance);
  }

  forget(instance: string, migration: string): void {
    const expected = this.#expected.get(instance);
    if (expected?.migration !== migration) return;
    expected.cancel();
    this.#expected.delete(instance);
  }

  async haul(instance: string, to: string, ticket: HaulTicket, operation: Operation, options: HaulOptions): Promise<HaulResult> {
    await this.containers.parts.pages.settled(instance, operation.signal);
    const { token, address, port } = ticket;
    const result = await this.#started.haul(instance, { host: to, address, port }, token, operation, options);
    await this.containers.left(instance);
    return result;
  }

  /** An operator decides where no answer will come. @throws HAUL_OFF before `start`, HAUL_NO_DECISION, HAUL_FAILED */
  async decide(instance: string, outcome: Outcome): Promise<void> {
    await this.#started.decide(instance, outcome);
  }

  async fate(instance: string): Promise<Fate> {
    const phase = await this.#hauler?.phase(instance);
    if (phase === 'offered') return 'open';
    if (phase === 'committed') return 'there';
    return (await this.containers.view(instance)).state === 'missing' ? 'there' : 'here';
  }
}

/** The container's ports as they are plugged here; inside it nothing may change. @throws HAUL_PROTOCOL if it has others */
function withVifs(spec: ContainerSpec, vifs: readonly VifSpec[]): ContainerSpec {
  const here = spec.vifs.map((vif) => {
    const found = vifs.find(({ id }) => id === vif.id);
    if (!found) throw new HaulierError('HAUL_PROTOCOL', { reason: `port ${vif.id} was not announced` });
    return { ...vif, hostDevice: found.hostDevice, plug: found.plug };
  });
  return { ...spec, vifs: here };
}
