/** What a layer asks for, gathered from its listing, of which nothing is trusted: neither how long, how deep nor how many its names are. */
import { lstatSync } from 'node:fs';
import { join, posix } from 'node:path';
import { unacceptable } from '../image-error.js';
import { parseListing, type Listed } from '../tar.js';
import { opaqueName, whiteoutPrefix } from '../whiteouts.js';

/** Names that aufs keeps for itself; they mean nothing here. */
const reservedPrefix = '.wh..wh.';

/** Linux's PATH_MAX; what is longer could not be unpacked. */
const maxNameBytes = 4096;
const maxDepth = 256;
/** Of a line: a name and a link's target, all of both escaped (`\ooo`), and what stands before them. */
const maxLineBytes = 2 * 4 * maxNameBytes + 200;
/** Of all names that are kept, characters: a million folders with names of a hundred. */
const maxKept = 128 * 1024 ** 2;

/** What the layers below have left at a place. */
type There = 'folder' | 'link' | 'other' | 'nothing';

/** What a layer asks for. */
export class Plan {
  /** Paths to take away with all below them, and folders to empty. */
  readonly remove = new Set<string>();
  readonly empty = new Set<string>();
  /** Folders on the way that were asked about: those of earlier layers, and those that this one makes, in which nothing earlier can be. */
  readonly #folders = new Map<string, 'earlier' | 'new'>();
  #kept = 0;
  #rest = '';

  /** @param name of the layer, for messages @param maxNames characters of names that are kept */
  constructor(private readonly image: string, private readonly name: string, private readonly tree: string, private readonly maxNames = maxKept) {}

  /** Takes a piece of `tarList`'s output. @throws IMAGE_UNACCEPTABLE */
  read(chunk: Buffer): void {
    const lines = (this.#rest + chunk.toString('latin1')).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      this.#requireShort(line);
      const listed = parseListing(line);
      if (!listed) throw this.#refuse(`has an entry that cannot be listed without doubt: ${line.slice(0, 200)}`);
      this.add(listed);
    }
    this.#requireShort(this.#rest);
  }

  /** Takes an entry. @throws IMAGE_UNACCEPTABLE */
  add({ type, name }: Listed): void {
    if (name.length > maxNameBytes) throw this.#refuse(`has a name of ${name.length} bytes: ${name.slice(0, 200)}...`);
    const parts = name.split('/').filter((part) => part !== '' && part !== '.');
    if (parts.includes('..')) throw this.#refuse(`names ${JSON.stringify(name.slice(0, 200))}, which contains '..'`);
    if (parts.length > maxDepth) throw this.#refuse(`has a name that is ${parts.length} folders deep: ${name.slice(0, 200)}...`);
    const last = parts.at(-1);
    if (last === undefined) return;
    const path = parts.join('/');
    const parents = parts.slice(0, -1);
    const reachable = this.#passThrough(parents, path);
    if (last.startsWith(whiteoutPrefix)) return this.#whiteout(type, parents.join('/'), last, reachable);
    const there = reachable ? this.#before(path) : 'nothing';
    if (there !== 'nothing' && (type === 'd') !== (there === 'folder')) this.#take(this.remove, path);
    if (type === 'd' && !this.#folders.has(path)) this.#note(path, there === 'folder' ? 'earlier' : 'new');
  }

  #whiteout(type: string, parent: string, name: string, reachable: boolean): void {
    const path = posix.join(parent, name).slice(0, 200);
    if (type !== '-') throw this.#refuse(`has a whiteout ${path} that is no plain file`);
    if (name === opaqueName && reachable) this.#take(this.empty, parent);
    if (name.startsWith(reservedPrefix)) return;
    const target = name.slice(whiteoutPrefix.length);
    if (target === '' || target === '.' || target === '..') throw this.#refuse(`has a whiteout ${path} that names nothing`);
    if (reachable) this.#take(this.remove, posix.join(parent, target));
  }

  /** @returns true if all of the way is folders of earlier layers */
  #passThrough(parents: readonly string[], path: string): boolean {
    if (parents.length === 0) return true;
    const whole = parents.join('/');
    const passed = this.#folders.get(whole);
    if (passed) return passed === 'earlier'; // noted only when all before it was
    let folder = '';
    for (const part of parents) {
      folder = folder === '' ? part : `${folder}/${part}`;
      const known = this.#folders.get(folder);
      if (known === 'earlier') continue;
      const there = known ? 'nothing' : this.#before(folder);
      if (there === 'link') throw this.#refuse(`writes ${path.slice(0, 200)} through the symbolic link ${folder.slice(0, 200)} of an earlier layer`);
      if (there === 'other') this.#take(this.remove, folder);
      if (!known) this.#note(folder, there === 'folder' ? 'earlier' : 'new');
      if (there !== 'folder') {
        if (folder !== whole) this.#note(whole, 'new'); // the next entry in it has a short way
        return false;
      }
    }
    return true;
  }

  #note(folder: string, what: 'earlier' | 'new'): void {
    this.#count(folder);
    this.#folders.set(folder, what);
  }

  #take(set: Set<string>, path: string): void {
    if (set.has(path)) return;
    this.#count(path);
    set.add(path);
  }

  #count(path: string): void {
    this.#kept += path.length;
    if (this.#kept > this.maxNames) throw this.#refuse(`has folders and whiteouts with more than ${this.maxNames} bytes of names together`);
  }

  #requireShort(line: string): void {
    if (line.length > maxLineBytes) throw this.#refuse(`has a name of more than ${maxNameBytes} bytes: ${line.slice(0, 200)}...`);
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
