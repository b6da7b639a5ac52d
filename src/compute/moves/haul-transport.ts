/** `DiskTransport` over the haul room: the destination announces one haul of one instance from one host, and the source brings it. */
import { arrivedLabel, type DiskTransport, type Ticket } from './transport.js';
import { HaulierError, messageOf } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { Operation } from '../../base/operation.js';
import type { HostParts } from '../../container/parts.js';
import type { LimitSpec } from '../../container/spec.js';
import { openHaul } from '../../haul/client.js';
import { receiveDisk } from '../../haul/disk/receive.js';
import { sendDisk } from '../../haul/disk/send.js';
import type { HaulServer } from '../../haul/server.js';
import type { HaulSettings } from '../../haul/settings.js';
import type { HaulChannel } from '../../haul/wire/channel.js';

/** How long a ticket is good: the source's queue and the guest's own shutdown come before it is used. */
const ticketMs = 3600_000;

/** One instance that is expected. */
interface Expected { cancel(): void; operation: Operation | undefined }

/** The hauls of stopped containers of this host. */
export class HaulTransport implements DiskTransport {
  readonly #expected = new Map<string, Expected>();

  constructor(private readonly server: () => HaulServer, private readonly settings: HaulSettings, private readonly parts: () => HostParts, private readonly log: Log) {}

  async expect(uuid: string, from: string, limits: LimitSpec): Promise<Ticket> {
    await this.forget(uuid);
    const { token, cancel } = this.server().expectHaul({ instance: uuid, peer: from, ttlMs: ticketMs, onHaul: (channel) => this.#receive(channel, uuid, limits, expected) });
    const expected: Expected = { cancel, operation: undefined };
    this.#expected.set(uuid, expected);
    return { token, address: this.settings.address, port: this.server().port };
  }

  async #receive(channel: HaulChannel, uuid: string, limits: LimitSpec, expected: Expected): Promise<void> {
    const operation = new Operation({ name: 'receive_disk', instance: uuid, log: this.log });
    expected.operation = operation;
    try {
      await operation.run(() => receiveDisk(this.parts(), channel, { instance: uuid, respec: (spec) => ({ ...spec, limits, vifs: [], labels: { ...spec.labels, [arrivedLabel]: 'yes' } }) }, operation));
    } finally {
      if (this.#expected.get(uuid) === expected) this.#expected.delete(uuid);
    }
  }

  async forget(uuid: string): Promise<void> {
    const expected = this.#expected.get(uuid);
    this.#expected.delete(uuid);
    expected?.cancel();
    expected?.operation?.abort(new HaulierError('CANCELLED', { what: 'receiving the server', reason: 'its move was given up' }));
  }

  async send(uuid: string, to: string, ticket: Ticket, operation: Operation): Promise<void> {
    const { token, address, port } = ticket;
    if (typeof token !== 'string' || typeof address !== 'string' || typeof port !== 'number') throw new HaulierError('HAUL_FAILED', { reason: `${to} sent no usable ticket` });
    const began = performance.now();
    const channel = await openHaul(this.settings, { host: to, address, port }, { token, instance: uuid }, { rate: this.server().rate }, operation.signal);
    const stats = await sendDisk(this.parts(), channel, uuid, operation);
    // it has landed: that the connection does not end well changes nothing
    await channel.close().catch((error: unknown) => operation.log.info({ err: error }, `the connection of a haul: ${messageOf(error)}`));
    operation.log.info({ to, ms: Math.round(performance.now() - began), stats }, 'disk hauled');
  }
}
