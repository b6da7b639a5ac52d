/**
 * Unpacks an archive of a container image. It is verified and taken apart while it downloads; then its layers are laid over each other
 * in one plain tree, like any other image's, so that boots, snapshots and moves know no difference. The parts are gone afterwards.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ApplicationConfig } from '../../application/config.js';
import type { ImageSource } from '../../spec.js';
import { EntryMeter } from '../meters.js';
import { removeTree } from '../remove-tree.js';
import { tarExtract } from '../tar.js';
import { checkTree } from '../tree-check.js';
import { flowThroughTar, type UnpackLimits, type Unpacked } from '../unpack.js';
import { applyLayer } from './layer.js';
import { findImage, type LayerPart } from './manifest.js';
import { Parts } from './parts.js';

/** Most files in an archive: a layer has three at most, an index some more. */
const maxParts = 5000;

/** Digests of tar archives without an entry, of 1024 and 10240 zero bytes: layers that only the configuration knows of. */
const emptyLayers: ReadonlySet<string> = new Set([
  'sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef', 'sha256:84ff92691f909a05b224e1c56abb4864f01b4f8e3c854e4bb4c7baf1d3f6d652',
]);

/**
 * @param folder holds an empty `rootfs/`
 * @throws IMAGE_UNACCEPTABLE, DISK_FULL, the source's own error, the signal's reason
 */
export async function unpackDocker(source: ImageSource, folder: string, limits: UnpackLimits, signal: AbortSignal, progress: (bytes: number) => void): Promise<Unpacked & { readonly application: ApplicationConfig | undefined }> {
  const archive = join(folder, 'archive');
  const tree = join(folder, 'rootfs');
  await mkdir(archive, { mode: 0o700 });
  const partsMeter = new EntryMeter(source.id, maxParts);
  // half of the way is the download, half the layers
  const { storedBytes } = await flowThroughTar(source, { command: tarExtract(archive, limits.maxBytes, 'parts'), take: (chunk) => partsMeter.add(chunk), path: archive }, limits.maxBytes, signal, (bytes) => progress(bytes / 2));
  const parts = new Parts(source.id, archive);
  const { layers, config, kind } = await findImage(source.id, parts, process.arch);
  const entries = new EntryMeter(source.id, limits.maxEntries);
  let left = limits.maxBytes;
  for (const [index, layer] of layers.entries()) {
    if (emptyLayers.has(layer.diffId)) continue;
    const name = `${index + 1} of ${layers.length}`;
    left -= await applyLayer({ name, source: layerSource(source, parts, layer), diffId: layer.diffId }, tree, entries, left, signal, () => undefined);
    progress(storedBytes / 2 + (storedBytes / 2) * ((index + 1) / layers.length));
  }
  await removeTree(archive);
  return { ...(await checkTree(source.id, tree, limits.maxBytes, signal)), packing: kind, storedBytes, application: config.application };
}

function layerSource(image: ImageSource, parts: Parts, { path, digest, size }: LayerPart): ImageSource {
  const [algorithm, value] = digest?.split(':') ?? [];
  return {
    id: image.id, size, checksum: algorithm !== undefined && value !== undefined ? { algorithm, value } : undefined, diskFormat: 'raw', containerFormat: 'bare',
    open: async () => (await parts.open(path)).createReadStream(),
  };
}
