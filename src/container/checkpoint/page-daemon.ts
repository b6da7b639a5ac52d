/**
 * criu's page daemon of one container: after a lazy restore it brings the memory in, first what the processes ask for, then the rest.
 * It is known by a pid file in the checkpoint's work folder and by a mark in its environment, so that any service finds it.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex, Readable } from 'node:stream';
import { HaulierError } from '../../base/errors.js';
import { packageRoot } from '../../base/package-root.js';
import { cgroupsPath, type HostParts } from '../parts.js';
import { identify, waitGone, type ProcessId } from '../process.js';
import { freezerSwitch } from './freezer.js';
import type { CheckpointPaths } from './paths.js';

const script = join(packageRoot, 'src/container/checkpoint/page-daemon.sh');
/** Name of the mark; its value is the checkpoint's folder. */
const pagesMark = 'HAULIER_PAGES';
/** File in the work folder: its pages come from elsewhere. */
const remoteMark = 'pages.remote';
const readyTimeoutMs = 10_000;
const killWaitMs = 5000;

type Folders = Pick<CheckpointPaths, 'folder' | 'work'>;

/** True for the daemon and its shell. */
export function servesPages(pid: number, folder: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`${pagesMark}=${folder}`);
  } catch {
    return false;
  }
}

/** Forgets an earlier one, which has ended. */
export async function forgetPageDaemon({ work }: Pick<CheckpointPaths, 'work'>): Promise<void> {
  for (const name of ['pages.pid', 'pages.exit', 'lazy-pages.socket', remoteMark]) await rm(join(work, name), { force: true });
}

/** Takes the daemon's end of the connection on which it asks for pages that are not in the images (criu's page server protocol). */
export type PageSource = (daemon: Duplex) => void;

/** Starts one and waits until it listens. It ends by itself when all pages are in. @param elsewhere where pages come from that are not in the images @throws RESUME_FAILED */
export async function startPageDaemon(parts: HostParts, id: string, paths: CheckpointPaths, elsewhere?: PageSource): Promise<void> {
  const { file, frozen } = freezerSwitch(parts.cgroups, cgroupsPath(parts, id));
  if (elsewhere) await writeFile(join(paths.work, remoteMark), '');
  const from = elsewhere ? ['--page-server', '--ps-socket', '4'] : [];
  const child = spawn(script, [paths.work, file, frozen, parts.options.criu, 'lazy-pages', '--images-dir', paths.images, '--work-dir', paths.work, '-o', 'pages.log', '--status-fd', '3', ...from], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', elsewhere ? 'pipe' : 'ignore'],
    env: { ...parts.runc.environment, [pagesMark]: paths.folder },
    detached: true,
  });
  child.unref();
  const status = child.stdio[3] as Readable;
  elsewhere?.(child.stdio[4] as Duplex);
  try {
    await listening(child, status);
  } catch (error) {
    await endPageDaemon(paths);
    throw error;
  } finally {
    status.destroy();
  }
}

function listening(child: ReturnType<typeof spawn>, status: Readable): Promise<void> {
  const failed = (reason: string): HaulierError => new HaulierError('RESUME_FAILED', { reason: `the page daemon cannot be started: ${reason}` });
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(failed(`it is not ready after ${readyTimeoutMs / 1000} s`)), readyTimeoutMs);
    const settle = (finish: () => void): void => { clearTimeout(timer); finish(); };
    status.once('data', () => settle(resolve));
    status.once('end', () => settle(() => reject(failed('it ended at once'))));
    child.once('error', (error) => settle(() => reject(failed(error.message))));
    child.once('exit', (code) => settle(() => reject(failed(`it ended at once with code ${code}`))));
  });
}

/** The shell that leads the daemon's session, if it lives. */
export async function pageDaemon({ folder, work }: Folders): Promise<ProcessId | undefined> {
  const pid = Number(await readFile(join(work, 'pages.pid'), 'utf8').catch(() => ''));
  return pid > 0 && servesPages(pid, folder) ? identify(pid) : undefined;
}

/** What became of it: the daemon's exit code; undefined while it runs, and where it was killed together with its shell. */
export async function pageDaemonExit({ work }: Pick<CheckpointPaths, 'work'>): Promise<number | undefined> {
  const text = await readFile(join(work, 'pages.exit'), 'utf8').catch(() => '');
  return /^\d+\n$/.test(text) ? Number(text) : undefined;
}

/** True if the last restore from these images was a lazy one. */
export async function wasLazy({ work }: Pick<CheckpointPaths, 'work'>): Promise<boolean> {
  return await readFile(join(work, 'pages.pid')).then(() => true, () => false);
}

/**
 * True if a container that was restored lazily will never have all of its memory.
 * @param cut the service that its pages came through is gone, and if they came from elsewhere nothing more comes
 */
export async function lostPages(paths: Folders, cut: boolean): Promise<boolean> {
  if (!(await wasLazy(paths)) || (await pageDaemonExit(paths)) === 0) return false;
  if (cut && existsSync(join(paths.work, remoteMark))) await endPageDaemon(paths);
  return (await pageDaemon(paths)) === undefined && (await pageDaemonExit(paths)) !== 0;
}

/** Tells it that the container is about to be ended: whatever becomes of the daemon from now on is no accident. */
export async function expectEnd(paths: Folders): Promise<void> {
  const daemon = await pageDaemon(paths);
  if (daemon) signal(daemon.pid, 'SIGUSR1');
}

/** Kills it. For a container that has ended, or was never let go. */
export async function endPageDaemon(paths: Folders): Promise<void> {
  const daemon = await pageDaemon(paths);
  if (!daemon) return;
  signal(-daemon.pid, 'SIGKILL');
  await waitGone(daemon, killWaitMs);
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // it ended in between
  }
}
