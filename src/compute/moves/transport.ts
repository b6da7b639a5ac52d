/**
 * How a stopped container's disk gets to another host, as this room sees it. The destination makes a ticket, which travels to the
 * source in Nova's own messages: inside `image`, the one argument of prep_resize and resize_instance that is a plain dict, is handed
 * on as it is, and is never stored.
 */
import type { Operation } from '../../base/operation.js';
import type { LimitSpec } from '../../container/spec.js';

/** What the source must know to send: addresses and a one-time token. Plain JSON; a secret, so never logged. */
export type Ticket = Readonly<Record<string, unknown>>;

/** The haul of stopped containers. */
export interface DiskTransport {
  /** Waits for a container from the host `from`, until it came or `forget`. It gets the limits of its new flavor, and is marked as `arrived`. */
  expect(uuid: string, from: string, limits: LimitSpec): Promise<Ticket>;
  /** The container is no more expected; does nothing if it is here already. */
  forget(uuid: string): Promise<void>;
  /** Sends a stopped container to the host `to`. When it resolves the destination has all of it on its disk. It stays here too. */
  send(uuid: string, to: string, ticket: Ticket, operation: Operation): Promise<void>;
}

/** Label of a container that came here and was not taken over yet: it is nobody's if its move is given up. `adopt` writes a spec without it. */
export const arrivedLabel = 'arrived';

const key = 'haulier_ticket';

/** The image with the ticket in it. */
export function withTicket(image: unknown, ticket: Ticket | undefined): Record<string, unknown> {
  return { ...(image as Record<string, unknown> | null | undefined), ...(ticket ? { [key]: ticket } : {}) };
}

/** Takes the ticket out of the image. */
export function splitTicket(image: unknown): { readonly image: Record<string, unknown>; readonly ticket: Ticket | undefined } {
  const { [key]: ticket, ...rest } = (image ?? {}) as Record<string, unknown>;
  return { image: rest, ticket: typeof ticket === 'object' && ticket !== null ? ticket as Ticket : undefined };
}
