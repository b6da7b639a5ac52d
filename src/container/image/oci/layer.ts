/**
 * Lays one layer over the tree of those below it (image-spec, layer.md). Twice through the archive: first it is only listed, which
 * proves its digest and tells what must be taken away, then it is unpacked. All that changes the tree happens in the jail; the looks at
 * it from here are safe because nothing else touches it.
 *
 * A layer that writes through a symbolic link of an earlier one is refused: where such a file lands differs from tool to tool, and no
 * tool that makes layers from a file system writes them so.
 */
import type { ImageSource } from '../../spec.js';
import { unacceptable } from '../image-error.js';
import { runJailed } from '../jailed-run.js';
import type { EntryMeter } from '../meters.js';
import { tarExtract, tarList } from '../tar.js';
import { flowThroughTar } from '../unpack.js';
import { splitDigest } from './fields.js';
import { Plan } from './plan.js';

/** A layer to be applied. */
export interface Layer {
  /** For messages: `2 of 5`. */
  readonly name: string;
  /** The file in the archive; its `id` is the image's. */
  readonly source: ImageSource;
  readonly diffId: string;
}

/**
 * @param tree absolute; the layers below it, applied
 * @param entries of all layers together
 * @param maxBytes left for this layer
 * @returns bytes of its archive
 * @throws IMAGE_UNACCEPTABLE, DISK_FULL, the signal's reason
 */
export async function applyLayer(layer: Layer, tree: string, entries: EntryMeter, maxBytes: number, signal: AbortSignal, progress: (bytes: number) => void): Promise<number> {
  const { source, name, diffId } = layer;
  const plan = new Plan(source.id, name, tree);
  const { algorithm, value } = splitDigest(diffId);
  const take = (chunk: Buffer): void => {
    entries.add(chunk);
    plan.read(chunk);
  };
  const { digest, archiveBytes } = await flowThroughTar(source, { command: tarList(), take, path: tree, digest: algorithm }, maxBytes, signal, () => undefined);
  if (digest !== value) throw unacceptable(source.id, `its layer ${name} has the ${algorithm} digest ${digest} when unpacked, not ${value}`);
  await takeAway(source.id, plan, tree, signal);
  await flowThroughTar(source, { command: tarExtract(tree, maxBytes, 'layer'), take: () => undefined, path: tree }, maxBytes, signal, progress);
  return archiveBytes;
}

const removing = ['CAP_DAC_OVERRIDE', 'CAP_FOWNER'];

async function takeAway(image: string, plan: Plan, tree: string, signal: AbortSignal): Promise<void> {
  const work = [
    [['find', '-files0-from', '-', '-mindepth', '1', '-xdev', '-delete'], plan.empty],
    [['xargs', '-0', '-r', 'rm', '-rf', '--one-file-system', '--'], plan.remove],
  ] as const;
  for (const [command, paths] of work) {
    if (paths.size === 0) continue;
    const input = Buffer.from([...paths].map((path) => `./${path}\0`).join(''), 'latin1');
    const end = await runJailed(command, { folder: { path: tree, writable: true }, capabilities: removing }, input, signal);
    if (end.code !== 0) throw unacceptable(image, `what a layer takes away cannot be removed: ${end.stderr.trim().slice(0, 300)}`);
  }
}
