/**
 * Lays one layer over the tree of those below it (image-spec, layer.md). Twice through the archive: first it is only listed, which
 * proves its digest and tells what must be taken away, then it is unpacked. All that changes the tree happens in the jail; the looks at
 * it from here are safe because nothing else touches it.
 *
 * A layer that writes through a symbolic link of an earlier one is refused: where such a file lands differs from tool to tool, and no
 * tool that makes layers from a file system writes them so.
 */
import { lstatSync } from 'node:fs';
import { join, posix } from 'node:path';
import type { ImageSource } from '../../spec.js';
import { unacceptable } from '../image-error.js';
import { runJailed } from '../jailed-run.js';
import type { EntryMeter } from '../meters.js';
import { parseListing, tarExtract, tarList, type Listed } from '../tar.js';
import { flowThroughTar } from '../unpack.js';
import { opaqueName, whiteoutPrefix } from '../whiteouts.js';
import { splitDigest } from './fields.js';

/** Names that aufs keeps for itself; they mean nothing here. */
const reservedPrefix = '.wh..wh.';

/** What the layers below have left at a place. */
type There = 'folder' | 'link' | 'other' | 'nothing';

/** What a layer asks for, gathered from its listing. */
class Plan {
  /** Paths to take away with all below them, and folders to empty. */
  readonly remove = new Set<string>();
  readonly empty = new Set<string>();
  /** Folders on the way that were asked about: those of earlier layers, and those that this one makes, in which nothing earlier can be. */
  readonly #folders = new Map<string, 'earlier' | 'new'>();

  /** @param name of the layer, for messages */
  constructor(private readonly image: string, private readonly name: string, private readonly tree: string) {}

  add({ type, name }: Listed): void {
    const parts = name.split('/').filter((part) => part !== '' && part !== '.');
    if (parts.includes('..')) throw this.#refuse(`names ${JSON.stringify(name.slice(0, 200))}, which contains '..'`);
    const last = parts.at(-1);
    if (last === undefined) return;
    const path = parts.join('/');
    const parents = parts.slice(0, -1);
    const reachable = this.#passThrough(parents, path);
    if (last.startsWith(whiteoutPrefix)) return this.#whiteout(type, parents.join('/'), last, reachable);
    const there = reachable ? this.#before(path) : 'nothing';
    if (there !== 'nothing' && (type === 'd') !== (there === 'folder')) this.remove.add(path);
    if (type === 'd' && !this.#folders.has(path)) this.#folders.set(path, there === 'folder' ? 'earlier' : 'new');
  }

  #whiteout(type: string, parent: string, name: string, reachable: boolean): void {
    const path = posix.join(parent, name).slice(0, 200);
    if (type !== '-') throw this.#refuse(`has a whiteout ${path} that is no plain file`);
    if (name === opaqueName && reachable) this.empty.add(parent);
    if (name.startsWith(reservedPrefix)) return;
    const target = name.slice(whiteoutPrefix.length);
    if (target === '' || target === '.' || target === '..') throw this.#refuse(`has a whiteout ${path} that names nothing`);
    if (reachable) this.remove.add(posix.join(parent, target));
  }

  /** @returns true if all of the way is folders of earlier layers */
  #passThrough(parents: readonly string[], path: string): boolean {
    for (let depth = 1; depth <= parents.length; depth++) {
      const folder = parents.slice(0, depth).join('/');
      const known = this.#folders.get(folder);
      if (known === 'new') return false;
      if (known === 'earlier') continue;
      const there = this.#before(folder);
      if (there === 'link') throw this.#refuse(`writes ${path.slice(0, 200)} through the symbolic link ${folder.slice(0, 200)} of an earlier layer`);
      if (there === 'other') this.remove.add(folder);
      this.#folders.set(folder, there === 'folder' ? 'earlier' : 'new');
      if (there !== 'folder') return false;
    }
    return true;
  }

  /** Asked only where the way there is folders, so that no link is followed. */
  #before(path: string): There {
    try {
      const info = lstatSync(Buffer.from(join(this.tree, path), 'latin1'), { throwIfNoEntry: false });
      return !info ? 'nothing' : info.isDirectory() ? 'folder' : info.isSymbolicLink() ? 'link' : 'other';
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENAMETOOLONG') return 'nothing'; // tar will say so
      throw error;
    }
  }

  #refuse(what: string): Error {
    return unacceptable(this.image, `its layer ${this.name} ${what}`);
  }
}

/** Lines of a stream of bytes. */
class Lines {
  #rest = '';
  constructor(private readonly take: (line: string) => void) {}

  add(chunk: Buffer): void {
    const lines = (this.#rest + chunk.toString('latin1')).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.take(line);
  }
}

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
  const lines = new Lines((line) => {
    const listed = parseListing(line);
    if (!listed) throw unacceptable(source.id, `its layer ${name} has an entry that cannot be listed`);
    plan.add(listed);
  });
  const { algorithm, value } = splitDigest(diffId);
  const take = (chunk: Buffer): void => {
    entries.add(chunk);
    lines.add(chunk);
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
