/** Mounts of this mount namespace: what is there (/proc/self/mountinfo, proc(5)), and how to take one away. */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../../base/log.js';
import { isHaulierError, messageOf } from '../../base/errors.js';
import { run } from '../../base/run.js';

/** One line of mountinfo. */
export interface Mount {
  readonly path: string;
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
    const [, , , root = '', path = '', options = ''] = front.split(' ');
    const [type = '', source = '', superOptions = ''] = back.split(' ');
    const clean = (field: string): string => bytesToText(unescape(field));
    return { path: clean(path), root: clean(root), type, source: clean(source), options: new Set(options.split(',')), superOptions: new Set(clean(superOptions).split(',')) };
  });
}

/** All mounts that this process sees. */
export async function listMounts(): Promise<Mount[]> {
  return parseMountinfo(await readFile('/proc/self/mountinfo', 'latin1'));
}

/** The mounts at `path` or below it, topmost and deepest first. */
export async function mountsUnder(path: string): Promise<Mount[]> {
  const mounts = await listMounts();
  return mounts.filter((mount) => mount.path === path || mount.path.startsWith(`${path}/`)).reverse();
}

/** Pauses between tries at a busy mount, milliseconds: a process that just died lets go within this time. */
const busyPauses = [10, 30, 60, 100, 300, 500];

/**
 * Unmounts everything at `path`. Idempotent. A busy mount is tried for a second, then detached (`umount --lazy`), which is logged:
 * its file system lives on until its last user ends. One whose unmount hangs is detached at once.
 * @param hangs how it is known that it does
 */
export async function unmountAll(path: string, log: Log, hangs?: unknown): Promise<void> {
  for (let mounts = await mountsAt(path); mounts > 0; mounts--) {
    let problem = hangs;
    for (const pause of hangs === undefined ? [...busyPauses, 0] : []) {
      problem = undefined;
      try {
        await run('umount', ['--no-canonicalize', '--', path], { timeoutMs: 120_000 });
        break;
      } catch (error) {
        problem = error;
        if (await mountsAt(path) < mounts) { problem = undefined; break; }
        if (isHaulierError(error, 'COMMAND_TIMEOUT')) break;
        if (pause > 0) await sleep(pause);
      }
    }
    if (problem === undefined) continue;
    log.warn({ path }, `still in use, detaching it: ${messageOf(problem)}`);
    await run('umount', ['--lazy', '--no-canonicalize', '--', path]);
  }
}

/** `unmountAll` of several, in this order, by one process where none is busy. */
export async function unmountEach(paths: readonly string[], log: Log): Promise<void> {
  let hangs: unknown;
  if (paths.length > 1) await run('umount', ['--no-canonicalize', '--', ...paths], { timeoutMs: 120_000 }).catch((error: unknown) => { if (isHaulierError(error, 'COMMAND_TIMEOUT')) hangs = error; }); // below it is seen what is left
  for (const path of paths) await unmountAll(path, log, hangs);
}

async function mountsAt(path: string): Promise<number> {
  return (await listMounts()).filter((mount) => mount.path === path).length;
}
