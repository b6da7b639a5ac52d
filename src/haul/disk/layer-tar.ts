/**
 * Reads and writes names of a layer. A guest made them, and may be making more at this moment: every tool that follows a path does so
 * in a jail where there is nothing but the layer, so that no link leads to a file of the host.
 */
import { randomBytes } from 'node:crypto';
import { chmod, lchown, open, rename } from 'node:fs/promises';
import { createServer } from 'node:net';
import { basename, dirname, join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { HaulierError } from '../../base/errors.js';
import { saysDiskFull } from '../../base/disk-full.js';
import { feed } from '../../container/image/feed.js';
import { jailed } from '../../container/image/jail.js';
import { startPiped, type PipedProcess } from '../../container/image/piped-process.js';
import type { Entry } from './manifest.js';

/**
 * Attributes that overlayfs keeps for one pair of file systems: handles of files of the lower one, and what counts on them. On
 * another host the lower one is another; overlayfs refuses the mount ("Stale file handle") or drops whole folders. It makes them anew.
 */
const hostBound = ['origin', 'nlink', 'impure', 'uuid', 'upper'].map((name) => `--xattrs-exclude=trusted.overlay.${name}`);

const createCommand = ['tar', '--create', '--file=-', '--format=posix', '--numeric-owner', '--sparse', '--hole-detection=seek', '--pax-option=delete=atime,delete=ctime',
  '--acls', '--xattrs', '--xattrs-include=*', ...hostBound, '--no-recursion', '--warning=no-file-ignored', '--null', '--verbatim-files-from', '--files-from=-'];
const extractCommand = ['tar', '--extract', '--file=-', '--numeric-owner', '--same-owner', '--preserve-permissions', '--delay-directory-restore',
  '--acls', '--xattrs', '--xattrs-include=*', '--warning=no-timestamp', '--warning=no-unknown-keyword'];
const removeCommand = ['xargs', '--null', '--no-run-if-empty', 'rm', '-rf', '--'];

// SYS_ADMIN: overlayfs's own attributes are in `trusted`; MKNOD: a removed file is a character device 0:0
const reader = ['CAP_DAC_READ_SEARCH', 'CAP_SYS_ADMIN'];
const writer = ['CAP_CHOWN', 'CAP_FOWNER', 'CAP_FSETID', 'CAP_DAC_OVERRIDE', 'CAP_SETFCAP', 'CAP_SYS_ADMIN', 'CAP_MKNOD'];

const nameList = (paths: Iterable<string>): Buffer => Buffer.from([...paths].map((path) => `./${path}\0`).join(''));

/** Whether the layer may change meanwhile: then a file that went or grew is no failure, it is looked at again. */
export type Stillness = 'moving' | 'still';

async function done(process: PipedProcess, what: string, okCodes: readonly number[]): Promise<void> {
  const { code, signal, stderr } = await process.ended;
  if (code !== undefined && okCodes.includes(code)) return;
  const full = saysDiskFull(stderr) || /: Wrote only \d+ of \d+ bytes$/m.test(stderr);
  if (full) throw new HaulierError('DISK_FULL', { path: 'the layer', reason: stderr.trim().slice(0, 300) });
  throw new HaulierError('COMMAND_FAILED', { command: what, outcome: code === undefined ? `signal ${signal}` : `exit code ${code}`, stderr: stderr.trim().slice(0, 1000) });
}

/** Writes the named entries of `folder` into `into`, as a tar archive; sockets are left out. */
export async function packNames(folder: string, entries: readonly Entry[], into: Writable, stillness: Stillness, signal?: AbortSignal): Promise<void> {
  const tar = startPiped(jailed(createCommand, { folder: { path: folder, writable: false }, capabilities: reader }));
  try {
    tar.stdin.end(nameList(entries.filter(({ type }) => type !== 's').map(({ path }) => path)));
    const whole = async function* (): AsyncGenerator<Buffer> {
      for await (const chunk of tar.stdout) yield chunk as Buffer;
      await done(tar, 'tar', stillness === 'moving' ? [0, 1, 2] : [0]);
    };
    await pipeline(whole(), into, { signal });
  } finally {
    tar.kill();
    await tar.ended.catch(() => undefined);
  }
}

/** Takes an archive of `packNames` into `folder`. */
export async function unpackNames(folder: string, from: Readable, stillness: Stillness, signal?: AbortSignal): Promise<void> {
  const tar = startPiped(jailed(extractCommand, { folder: { path: folder, writable: true }, capabilities: writer }));
  tar.stdout.resume();
  try {
    await feed(from, tar, { signal, afterFailure: 'stop' });
    await done(tar, 'tar', stillness === 'moving' ? [0, 2] : [0]);
  } finally {
    tar.kill();
    await tar.ended.catch(() => undefined);
  }
}

/** Removes names and all that is below them. */
export async function removeNames(folder: string, paths: readonly string[]): Promise<void> {
  if (paths.length === 0) return;
  const rm = startPiped(jailed(removeCommand, { folder: { path: folder, writable: true }, capabilities: ['CAP_DAC_OVERRIDE', 'CAP_FOWNER'] }));
  rm.stdout.resume();
  rm.stdin.end(nameList(paths));
  await done(rm, 'rm', [0]);
}

/**
 * Makes sockets that nobody listens on: tar cannot. Each is bound under a name of the service's own beside the layer and renamed
 * into its folder, which is opened without following a link.
 */
export async function makeSockets(folder: string, scratch: string, entries: readonly Entry[]): Promise<void> {
  for (const entry of entries.filter(({ type }) => type === 's')) {
    const own = `/proc/self/fd/`;
    const at = await open(scratch, 'r');
    const parent = await openBelow(folder, dirname(entry.path));
    try {
      const name = `.socket-${randomBytes(4).toString('hex')}`;
      const server = createServer();
      await new Promise<void>((resolve, reject) => server.once('error', reject).listen(`${own}${at.fd}/${name}`, resolve));
      const path = join(scratch, name);
      await lchown(path, Number(entry.uid), Number(entry.gid));
      await chmod(path, parseInt(entry.mode, 8));
      await rename(path, `${own}${parent.fd}/${basename(entry.path)}`);
      await new Promise<void>((resolve) => server.close(() => resolve()));
    } finally {
      await parent.close();
      await at.close();
    }
  }
}

const O_DIRECTORY_NOFOLLOW = 0o200000 | 0o400000;

/** Opens a folder step by step, refusing links. */
async function openBelow(folder: string, path: string): ReturnType<typeof open> {
  let handle = await open(folder, O_DIRECTORY_NOFOLLOW);
  for (const part of path === '.' ? [] : path.split('/')) {
    const next = await open(`/proc/self/fd/${handle.fd}/${part}`, O_DIRECTORY_NOFOLLOW).finally(() => handle.close());
    handle = next;
  }
  return handle;
}
