/** What the source tells of a container before anything of it moves. */
import { HaulierError } from '../../base/errors.js';
import type { ImageRecord } from '../../container/image/image-record.js';
import type { ContainerSpec } from '../../container/spec.js';
import type { InstanceState } from '../../container/state.js';

/** Version of the offer's content. */
const version = 1;

/** See above. */
export interface Offer {
  readonly version: number;
  readonly spec: ContainerSpec;
  /** What goes along of its state. */
  readonly state: Pick<InstanceState, 'wanted' | 'suspendedFor' | 'startedAt' | 'exit' | 'guestFiles'>;
  /** The image that it was made from. */
  readonly base: Pick<ImageRecord, 'id' | 'key' | 'checksum' | 'unpackedBytes' | 'application'>;
}

/** Makes it. */
export function makeOffer(spec: ContainerSpec, state: InstanceState, base: ImageRecord): Offer {
  const { wanted, suspendedFor, startedAt, exit, guestFiles } = state;
  const { id, key, checksum, unpackedBytes, application } = base;
  return { version, spec, state: { wanted, suspendedFor, startedAt, exit, guestFiles }, base: { id, key, checksum, unpackedBytes, ...(application ? { application } : {}) } };
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Reads it from a message. @throws HAUL_PROTOCOL if it is none for `instance` */
export function readOffer(value: unknown, instance: string): Offer {
  const offer = value as Partial<Offer> | undefined;
  const good = isObject(value) && offer?.version === version && isObject(offer.spec) && isObject(offer.state) && isObject(offer.base)
    && offer.spec.id === instance && Array.isArray(offer.spec.vifs) && isObject(offer.spec.limits) && typeof offer.spec.imageId === 'string'
    && ['running', 'paused', 'suspended', 'stopped'].includes(offer.state.wanted)
    && typeof offer.base.id === 'string' && typeof offer.base.key === 'string';
  if (!good) throw new HaulierError('HAUL_PROTOCOL', { reason: `the offer is none for ${instance}` });
  return value as unknown as Offer;
}
