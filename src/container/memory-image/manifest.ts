/** What a snapshot with memory says of itself, sealed with it; and whether a host can take it back. */
import { HaulierError } from '../../base/errors.js';
import { misfits, type HostFacts } from '../checkpoint/facts.js';
import type { CheckpointMeta } from '../checkpoint/images.js';
import { atLeast } from '../version.js';
import type { ContainerSpec } from '../spec.js';

/** Version of the manifest and of the records beside it. */
export const memoryFormat = 1;

/** An address that the source had when it was frozen. */
export interface FormerAddress {
  readonly address: string;
  /** The kernel's word: `global`, `link`. */
  readonly scope: string;
}

/** See above. */
export interface MemoryManifest {
  readonly version: typeof memoryFormat;
  /** Glance's id of the image: the bytes are good under no other one. */
  readonly image: string;
  /** The server that was frozen. */
  readonly instance: string;
  readonly addresses: readonly FormerAddress[];
  /** It had a config drive mounted, and so must who goes on from here. */
  readonly configDrive?: boolean;
  /** Memory that no file holds. */
  readonly memoryBytes: number;
  readonly checkpoint: CheckpointMeta;
}

const mib = 1024 ** 2;
/** Beside the memory itself: page tables, the kernel's own. */
const spareMiB = 8;

/** Memory that a server needs to go on, MiB. */
export function neededMiB(manifest: Pick<MemoryManifest, 'memoryBytes'>): number {
  return Math.ceil(manifest.memoryBytes / mib) + spareMiB;
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Reads one that was sealed, or kept in the cache. @throws MEMORY_IMAGE_REFUSED */
export function parseManifest(value: unknown, image: string): MemoryManifest {
  const refuse = (reason: string): HaulierError => new HaulierError('MEMORY_IMAGE_REFUSED', { image, reason });
  if (!isObject(value) || value['version'] !== memoryFormat) throw refuse(`its manifest is of version ${isObject(value) ? String(value['version']) : 'none'}, this Haulier knows version ${memoryFormat}`);
  const checkpoint = value['checkpoint'];
  if (!isObject(checkpoint) || !isObject(checkpoint['files']) || !isObject(checkpoint['host']) || !isObject(checkpoint['groups']) || !Array.isArray(value['addresses']) || typeof value['memoryBytes'] !== 'number') throw refuse('its manifest lacks what it needs');
  if (value['image'] !== image) throw refuse(`it was made as image ${String(value['image'])}; a copy under another id is not accepted`);
  return value as unknown as MemoryManifest;
}

/** `6.18` of a kernel's release. */
const kernelOf = (release: string): string => /^\d+\.\d+/.exec(release)?.[0] ?? release;

/** @throws MEMORY_IMAGE_MISFIT if processes that ran on that host cannot go on here */
export function requireFit(manifest: MemoryManifest, here: HostFacts): void {
  const { host } = manifest.checkpoint;
  const reasons = misfits(host, here);
  if (!atLeast(here.kernel, kernelOf(host.kernel))) reasons.push(`its processes ran on kernel ${host.kernel} and may rely on what this one (${here.kernel}) lacks`);
  if (reasons.length > 0) throw new HaulierError('MEMORY_IMAGE_MISFIT', { image: manifest.image, reason: reasons.join('; ') });
}

/** @throws IMAGE_TOO_LARGE if its memory cannot fit */
export function requireMemory(manifest: MemoryManifest, limits: Pick<ContainerSpec['limits'], 'memoryMiB' | 'swapMiB'>): void {
  const needed = neededMiB(manifest);
  if (needed > limits.memoryMiB + limits.swapMiB) throw new HaulierError('IMAGE_TOO_LARGE', { image: manifest.image, reason: `its processes take ${needed} MiB of memory, the flavor has ${limits.memoryMiB}` });
}
