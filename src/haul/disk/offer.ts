/** What the source tells of a container before anything of it moves. */
import { HaulierError } from '../../base/errors.js';
import type { ImageRecord } from '../../container/image/image-record.js';
import type { ContainerSpec } from '../../container/spec.js';
import type { InstanceState } from '../../container/state.js';
import type { CachedLayer } from '../../container/storage-port.js';

/** Version of the offer's content: 2 with templates, which a host that knows only 1 would leave out. */
const versionOf = (templates: readonly unknown[]): number => (templates.length > 0 ? 2 : 1);

/** A tree of the cache, as the other host must have it. */
export type OfferedLayer = Pick<ImageRecord, 'id' | 'key' | 'checksum' | 'unpackedBytes' | 'application'>;

/** See above. */
export interface Offer {
  readonly version: number;
  readonly spec: ContainerSpec;
  /** What goes along of its state. */
  readonly state: Pick<InstanceState, 'wanted' | 'suspendedFor' | 'startedAt' | 'exit' | 'guestFiles'>;
  /** The image that it was made from. */
  readonly base: OfferedLayer;
  /** Templates over it, the lowest first. */
  readonly templates?: readonly OfferedLayer[];
}

/** Makes it. */
export function makeOffer(spec: ContainerSpec, state: InstanceState, [base, ...templates]: readonly [CachedLayer, ...CachedLayer[]]): Offer {
  const { wanted, suspendedFor, startedAt, exit, guestFiles } = state;
  return { version: versionOf(templates), spec, state: { wanted, suspendedFor, startedAt, exit, guestFiles }, base: offered(base), ...(templates.length > 0 ? { templates: templates.map(offered) } : {}) };
}

function offered({ record: { id, key, checksum, unpackedBytes, application } }: CachedLayer): OfferedLayer {
  return { id, key, checksum, unpackedBytes, ...(application ? { application } : {}) };
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Reads it from a message. @throws HAUL_PROTOCOL if it is none for `instance` */
export function readOffer(value: unknown, instance: string): Offer {
  const offer = value as Partial<Offer> | undefined;
  const templates = offer?.templates ?? [];
  const isLayer = (layer: unknown): boolean => isObject(layer) && typeof layer['id'] === 'string' && typeof layer['key'] === 'string';
  const good = isObject(value) && Array.isArray(templates) && offer?.version === versionOf(templates) && isObject(offer.spec) && isObject(offer.state)
    && offer.spec.id === instance && Array.isArray(offer.spec.vifs) && isObject(offer.spec.limits) && typeof offer.spec.imageId === 'string'
    && ['running', 'paused', 'suspended', 'stopped'].includes(offer.state.wanted)
    && [offer.base, ...templates].every(isLayer) && (offer.spec.templates ?? []).join() === templates.map(({ id }) => id).join();
  if (!good) throw new HaulierError('HAUL_PROTOCOL', { reason: `the offer is none for ${instance}` });
  return value as unknown as Offer;
}
