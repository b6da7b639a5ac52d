/**
 * Whether a server's snapshots carry its memory: the property `haulier:memory` = `true`, of the snapshot's image (createImage's
 * metadata), else of the server, else what it was booted with: a scheduler hint, or its image's property.
 */
import type { Compute, InstanceCall } from './compute.js';
import { withAttribute } from './instance-state.js';
import { userScope } from './scope.js';
import type { SnapshotMemory } from '../container/snapshot/snapshot.js';
import type { NovaObject } from '../nova/object.js';

/** The property, and the key of the system metadata that keeps the hint of a boot. */
export const memoryProperty = 'haulier:memory';
const inheritedPrefix = 'image_';
/** Properties that tell of an image's own memory, and are not to be inherited by another one. */
const ownPrefix = `${memoryProperty}_`;

/** What was said, from the weakest to the strongest. */
export interface MemoryWords {
  /** What the server was booted with; Nova copies it into the snapshot's image. */
  readonly inherited: string | undefined;
  /** Of the server. */
  readonly server: string | undefined;
  /** Of the snapshot's image: what it inherited, or what whoever asked for it has said. */
  readonly image: string | undefined;
}

/** Weighs them. */
export function wantsMemory({ inherited, server, image }: MemoryWords): boolean {
  const own = image !== inherited ? image : undefined;
  return (own ?? server ?? inherited)?.toLowerCase() === 'true';
}

const text = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined);

/**
 * For `ContainerHost.snapshot`: the image's id if memory is wanted.
 * @throws SNAPSHOT_KEY if it is, and this host has no key; IMAGE_NOT_FOUND
 */
export async function memoryFor(compute: Compute, call: InstanceCall, imageId: string): Promise<string | undefined> {
  await withAttribute(compute, call, 'metadata');
  await withAttribute(compute, call, 'system_metadata');
  const system = call.instance.strings('system_metadata');
  const image = await compute.glance.image(userScope(call.context, call.operation.signal), imageId);
  const words = {
    inherited: text(system[memoryProperty]) ?? text(system[`${inheritedPrefix}${memoryProperty}`]),
    server: text(call.instance.strings('metadata')[memoryProperty]),
    image: text(image.properties[memoryProperty]),
  };
  if (!wantsMemory(words)) return undefined;
  await compute.containers.requireSnapshotKey();
  return imageId;
}

/**
 * What the image says of its memory. `haulier:memory` is true only of one that has it.
 * @param wanted it was asked for
 */
export function memoryProperties(instance: NovaObject, wanted: boolean, memory: SnapshotMemory | undefined): Record<string, string | number> {
  const system = instance.strings('system_metadata');
  if (memory) {
    return {
      [memoryProperty]: 'true', [`${ownPrefix}format`]: String(memory.format), [`${ownPrefix}criu`]: memory.criu, [`${ownPrefix}architecture`]: memory.architecture,
      min_ram: Math.max(memory.memoryMiB, Number(system[`${inheritedPrefix}min_ram`] ?? 0) || 0),
    };
  }
  const inherited = Object.keys(system).filter((key) => key.startsWith(`${inheritedPrefix}${ownPrefix}`)).map((key) => [key.slice(inheritedPrefix.length), ''] as const);
  return { ...Object.fromEntries(inherited), ...(wanted ? { [memoryProperty]: 'false', [`${ownPrefix}absent`]: 'the server did not run' } : {}) };
}
