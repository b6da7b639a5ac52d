/**
 * What lies in a layer, name by name: which names changed since the last look, and whether a copy is equal.
 *
 * A look is one `find`: 16 ms for 2000 files, so the last one fits into the time for which the container stands still. A change is
 * seen by the inode, its ctime (which no guest can set) and what stat(2) shows. Files whose ctime is not well before the look count
 * as changed at the next one: ctime has the kernel's tick for its grain, and a write through a memory map is only noted for the first
 * time after the page was cleaned, which the sync before each look does.
 */
import { buffer } from 'node:stream/consumers';
import { HaulierError } from '../../base/errors.js';
import { startPiped } from '../../container/image/piped-process.js';

/** One name. Ids and modes as on the disk. */
export interface Entry {
  /** Relative; empty for the folder itself. */
  readonly path: string;
  /** As find's %y: f d l c b p s. */
  readonly type: string;
  readonly inode: string;
  readonly ctime: number;
  readonly mode: string;
  readonly uid: string;
  readonly gid: string;
  readonly size: string;
  readonly mtime: string;
  readonly links: string;
  readonly target: string;
}

/** All names of a folder, parents before what is in them. */
export interface Manifest {
  readonly entries: ReadonlyMap<string, Entry>;
  /** Unix time, seconds: what changed from here on may be missing. */
  readonly from: number;
}

const format = ['%y', '%i', '%C@', '%m', '%U', '%G', '%s', '%T@', '%n', '%P', '%l'];

/** Reads the text of `scan`'s find. @throws HAUL_PROTOCOL if it is none */
export function parseManifest(text: string, from: number): Manifest {
  const fields = text.split('\0');
  if (fields.length % format.length !== 1) throw new HaulierError('HAUL_PROTOCOL', { reason: 'a list of files is cut off' });
  const entries = new Map<string, Entry>();
  for (let at = 0; at + format.length < fields.length; at += format.length) {
    const [type = '', inode = '', ctime = '', mode = '', uid = '', gid = '', size = '', mtime = '', links = '', path = '', target = ''] = fields.slice(at, at + format.length);
    entries.set(path, { path, type, inode, ctime: Number(ctime), mode, uid, gid, size, mtime, links, target });
  }
  return { entries, from };
}

/** Looks. @returns the manifest and its text, as `parseManifest` takes it @throws COMMAND_FAILED */
export async function scan(folder: string): Promise<{ readonly manifest: Manifest; readonly text: Buffer }> {
  const from = Date.now() / 1000;
  const find = startPiped(['find', folder, '-xdev', '-ignore_readdir_race', '-printf', format.map((field) => `${field}\\0`).join('')]);
  find.stdin.end();
  const text = await buffer(find.stdout);
  const { code, stderr } = await find.ended;
  if (code !== 0) throw new HaulierError('COMMAND_FAILED', { command: 'find', outcome: `exit code ${code}`, stderr: stderr.slice(-500) });
  return { manifest: parseManifest(text.toString('utf8'), from), text };
}

/** What must be done to a copy. */
export interface Difference {
  /** Names to remove, folders with all that is in them. */
  readonly gone: readonly string[];
  /** Names to write anew, parents first; of a folder only the folder itself. */
  readonly changed: readonly Entry[];
}

/** Seconds before a look within which a change may have escaped it. */
const doubtSeconds = 1;

const hasContent = (entry: Entry): boolean => entry.type === 'f' || entry.type === 'l';
const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));

/**
 * @param before what the copy was made from; undefined: it is empty
 * @param wrong names that the copy is known to have wrong
 */
export function difference(before: Manifest | undefined, now: Manifest, wrong: ReadonlySet<string> = new Set()): Difference {
  const changed = new Set<string>();
  const gone: string[] = [];
  const sameThing = (old: Entry, entry: Entry): boolean => old.inode === entry.inode && old.type === entry.type;
  for (const old of before?.entries.values() ?? []) {
    const entry = now.entries.get(old.path);
    if (old.path === '' || (entry && (sameThing(old, entry) || (old.type !== 'd' && entry.type !== 'd')))) continue;
    if (gone.length === 0 || !old.path.startsWith(`${gone.at(-1)}/`)) gone.push(old.path);
    changed.add(parentOf(old.path));
  }
  const removed = new Set(gone);
  const under = (path: string): boolean => {
    for (let up = path; up !== ''; up = parentOf(up)) if (removed.has(up)) return true;
    return false;
  };
  const inodes = new Set<string>();
  for (const entry of now.entries.values()) {
    const old = before?.entries.get(entry.path);
    const same = old && sameThing(old, entry) && old.ctime === entry.ctime && old.mtime === entry.mtime && old.size === entry.size && old.links === entry.links
      && entry.ctime < (before as Manifest).from - doubtSeconds && !wrong.has(entry.path) && !under(entry.path);
    if (same) continue;
    changed.add(entry.path);
    if (entry.type !== 'd') inodes.add(entry.inode);
  }
  // all names of a file go together, or it would fall apart; and a folder whose content changes gets its times back
  for (const entry of now.entries.values()) if (entry.type !== 'd' && inodes.has(entry.inode)) changed.add(entry.path);
  for (const path of [...changed]) if (path !== '') changed.add(parentOf(path));
  return { gone, changed: [...now.entries.values()].filter((entry) => changed.has(entry.path)) };
}

/** Names in which a copy differs from what it was made from. Sizes of folders are their file system's business. */
export function mistakes(wanted: Manifest, copy: Manifest): string[] {
  const wrong = [...copy.entries.keys()].filter((path) => !wanted.entries.has(path));
  const group = new Map<string, string>();
  const groupBack = new Map<string, string>();
  for (const entry of wanted.entries.values()) {
    const found = copy.entries.get(entry.path);
    const equal = found && found.type === entry.type && found.mode === entry.mode && found.uid === entry.uid && found.gid === entry.gid
      && found.target === entry.target && (!hasContent(entry) || found.size === entry.size) && (entry.type === 's' || found.mtime === entry.mtime)
      && (entry.type === 'd' || (paired(group, entry.inode, found.inode) && paired(groupBack, found.inode, entry.inode)));
    if (!equal) wrong.push(entry.path);
  }
  return wrong;
}

/** True if `key` is always seen with the same `value`. */
function paired(seen: Map<string, string>, key: string, value: string): boolean {
  const known = seen.get(key);
  if (known === undefined) seen.set(key, value);
  return known === undefined || known === value;
}
