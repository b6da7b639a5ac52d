/** What the tests of snapshots with memory share: a key, images that are kept in files, clones. */
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../../../src/base/run.js';
import { addKey } from '../../../src/container/memory-image/keys.js';
import type { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { DiskSnapshot } from '../../../src/container/snapshot/snapshot.js';
import type { ContainerSpec, ImageSource } from '../../../src/container/spec.js';
import type { ContainerHostOptions } from '../../../src/container/container-host.js';
import { makeBed, makeSpec, makeVif, operate, until, type Bed } from './harness.js';

/** A bed with a key and a bridge. */
export interface MemoryBed extends Bed {
  readonly folder: string;
  readonly bridge: string;
}

/** @param bridge its name, `brqht...` */
export async function memoryBed(bridge: string, change: Partial<ContainerHostOptions> = {}): Promise<MemoryBed> {
  const folder = await mkdtemp('/var/lib/nova/memory-');
  const snapshotKey = join(folder, 'key');
  await addKey(snapshotKey);
  const bed = await makeBed({ snapshotKey, ...change });
  await run('ip', ['link', 'add', bridge, 'type', 'bridge']);
  await run('ip', ['addr', 'add', '10.90.0.1/24', 'dev', bridge]);
  await run('ip', ['link', 'set', bridge, 'up']);
  return { ...bed, folder, bridge, end: async () => {
    await bed.end();
    await rm(folder, { recursive: true, force: true });
  } };
}

/** The image that a file holds. */
export async function imageFile(file: string, id: string): Promise<ImageSource> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return { id, size: (await stat(file)).size, checksum: { algorithm: 'sha256', value: hash.digest('hex') }, diskFormat: 'raw', containerFormat: 'bare', open: async () => createReadStream(file) };
}

/** Where the file of an image is. */
export const fileOf = (bed: MemoryBed, id: string): string => join(bed.folder, id);

/** Takes a snapshot with memory and keeps it as an image. @param pauseMs before it is read */
export async function memorySnapshot(bed: MemoryBed, id: string, host: LocalContainerHost = bed.host, pauseMs = 0): Promise<{ readonly image: ImageSource; readonly snapshot: DiskSnapshot }> {
  const image = randomUUID();
  const snapshot = await operate((operation) => host.snapshot(id, operation, image));
  try {
    await sleep(pauseMs);
    await pipeline(snapshot.stream, createWriteStream(fileOf(bed, image)));
  } finally {
    await snapshot.end();
  }
  return { image: await imageFile(fileOf(bed, image), image), snapshot };
}

let places = 20;

/** A spec with a port and an address of its own. */
export function portSpec(bed: MemoryBed, image: ImageSource, change: Partial<ContainerSpec> = {}): ContainerSpec {
  const place = places++;
  const vif = makeVif({ type: 'bridge', bridge: bed.bridge, createBridge: true }, 0, { mac: `fa:16:3e:00:01:${place.toString(16)}`, addresses: [{ address: `10.90.0.${place}`, prefixLength: 24 }, { address: `fd00:90:0::${place}`, prefixLength: 64 }] });
  return makeSpec(image, { vifs: [vif], hostname: `guest-${place}`, ...change });
}

/** Boots one. From a snapshot with memory it resumes. */
export async function bootFrom(bed: MemoryBed, image: ImageSource, change: Partial<ContainerSpec> = {}, host: LocalContainerHost = bed.host): Promise<ContainerSpec> {
  const spec = portSpec(bed, image, change);
  await operate((operation) => host.ensureImage(image, operation));
  await operate(async (operation) => {
    await host.create(spec, operation);
    await host.startContainer(spec.id, operation);
  });
  return spec;
}

/** The counter of the busybox system. */
export async function counted(host: LocalContainerHost, id: string): Promise<number> {
  return Number(await readFile(`/proc/${(await host.view(id)).pid}/root/run/count`, 'utf8').catch(() => '0'));
}

/** It counts beyond `before`. */
export async function countsOn(host: LocalContainerHost, id: string, before: number): Promise<void> {
  await until(`${id} counts on from ${before}`, async () => (await counted(host, id)) > before);
}
