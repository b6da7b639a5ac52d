/** Mounts of this mount namespace: what is there (/proc/self/mountinfo, proc(5)), and how to take one away. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../../base/log.js';
import { isHaulierError, messageOf } from '../../base/errors.js';
import { run } from '../../base/run.js';

/** One line of mountinfo. */
export interface Mount {
  readonly path: string;
  /** major:minor of the file system. */
  readonly device: string;
  /** Path within the file system that is mounted here; `/` unless it is a bind mount. */
  readonly root: string;
  readonly type: string;
  readonly source: string;
  /** Options of the mount (`ro`, `nodev`, `idmapped`). */
  readonly options: ReadonlySet<string>;
  /** Options of the file system (`ro`, `nfs_export=on`). */
  readonly superOptions: ReadonlySet<string>;
}

const unescape = (text: string): string => text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
const bytesToText = (text: string): string => Buffer.from(text, 'latin1').toString('utf8');

/** Parses the text of a mountinfo file. Later lines lie above earlier ones of the same path. */
export function parseMountinfo(text: string): Mount[] {
  return text.split('\n').filter(Boolean).map((line) => {
    const [front = '', back = ''] = line.split(' - ');
    const [, , device = '', root = '', path = '', options = ''] = front.split(' ');
    const [type = '', source = '', superOptions = ''] = back.split(' ');
    const clean = (field: string): string => bytesToText(unescape(field));
    return { path: clean(path), device, root: clean(root), type, source: clean(source), options: new Set(options.split(',')), superOptions: new Set(clean(superOptions).split(',')) };
  });
}

/** As the kernel writes a path (`seq_path` in fs/proc_namespace.c). */
const escape = (path: string): string => Buffer.from(path, 'utf8').toString('latin1').replace(/[ \t\n\\]/g, (char) => `\\${char.charCodeAt(0).toString(8).padStart(3, '0')}`);

/**
 * The lines of a mountinfo file with the mounts at `folder` or below it, parsed. Of a host with a thousand containers the file has
 * thousands of lines, and it is read several times for each start and stop: the others are not even split.
 */
export function mountsOf(text: string, folder: string): Mount[] {
  const needle = ` ${escape(folder)}`;
  const lines: string[] = [];
  for (let at = text.indexOf(needle); at >= 0;) {
    const end = text.indexOf('\n', at);
    lines.push(text.slice(text.lastIndexOf('\n', at) + 1, end < 0 ? undefined : end));
    at = end < 0 ? -1 : text.indexOf(needle, end);
  }
  return parseMountinfo(lines.join('\n')).filter(({ path }) => path === folder || path.startsWith(`${folder}/`));
}

/** The mounts at `folder` or below it that this process sees, or all; later ones lie above earlier ones of the same path. */
export function listMounts(folder?: string): Mount[] {
  const text = readFileSync('/proc/self/mountinfo', 'latin1'); // at once: through the thread pool it would be one request for every 4 KiB
  return folder === undefined ? parseMountinfo(text) : mountsOf(text, folder);
}

/** The mounts at `path` or below it, topmost and deepest first. */
export function mountsUnder(path: string): Mount[] {
  return listMounts(path).reverse();
}

/** Pauses between tries at a busy mount, milliseconds: a process that just died lets go within this time. */
const busyPauses = [10, 30, 60, 100, 300, 500];

/**
 * Unmounts everything at `path`. Idempotent. A busy mount is tried for a second, then detached (`umount --lazy`), which is logged:
 * its file system lives on until its last user ends. One whose unmount hangs is detached at once.
 * @param hangs how it is known that it does
 */
export async function unmountAll(path: string, log: Log, hangs?: unknown): Promise<void> {
  for (let mounts = mountsAt(path); mounts > 0; mounts--) {
    let problem = hangs;
    for (const pause of hangs === undefined ? [...busyPauses, 0] : []) {
      problem = undefined;
      try {
        await run('umount', ['--no-canonicalize', '--', path], { timeoutMs: 120_000 });
        break;
      } catch (error) {
        problem = error;
        if (mountsAt(path) < mounts) { problem = undefined; break; }
        if (isHaulierError(error, 'COMMAND_TIMEOUT')) break;
        if (pause > 0) await sleep(pause);
      }
    }
    if (problem === undefined) continue;
    log.warn({ path }, `still in use, detaching it: ${messageOf(problem)}`);
    await run('umount', ['--lazy', '--no-canonicalize', '--', path]);
  }
}

/**
 * `unmountAll` of several, in this order, by one process where none is busy.
 * @param guests whether a guest's folders are on their ways: without them the command may follow links, and need not read the table of mounts
 */
export async function unmountEach(paths: readonly string[], log: Log, guests: boolean): Promise<void> {
  if (paths.length === 0) return;
  try {
    await run('umount', [...(guests ? ['--no-canonicalize'] : []), '--', ...paths], { timeoutMs: 120_000 });
  } catch (error) {
    const hangs = isHaulierError(error, 'COMMAND_TIMEOUT') ? error : undefined;
    for (const path of paths) await unmountAll(path, log, hangs); // what is left
  }
}

function mountsAt(path: string): number {
  return listMounts(path).filter((mount) => mount.path === path).length;
}
