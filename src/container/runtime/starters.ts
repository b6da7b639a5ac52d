/**
 * The processes outside a container that this service, or an earlier life of it, has started to make, change or end it: monitors and the
 * runtime, known by their executable and by the arguments that only they have. (criu is known by its mark: `checkpoint/in-flight.ts`.)
 * Whatever else bears the container's id among its arguments is an administrator's: an editor, a `tail`, `haulier exec`.
 */
import { open, readdir, readFile, readlink, realpath } from 'node:fs/promises';
import { findCommand } from '../../base/run.js';
import type { HostParts } from '../parts.js';
import { isServiceUsers } from '../process.js';

/** What this service has the runtime do that changes a container; `exec` is the guest's, or a person's. */
const changing = ['checkpoint', 'create', 'delete', 'kill', 'restore', 'resume', 'start', 'update'];

type Where = Pick<HostParts, 'exitFolder'> & { readonly runc: Pick<HostParts['runc'], 'command' | 'root'>; readonly options: Pick<HostParts['options'], 'conmon'> };

/** What a process was started as. */
export interface Started {
  /** Path of what the kernel executes. */
  readonly executable: string;
  readonly args: readonly string[];
}

const has = (args: readonly string[], option: string, value: string): boolean => args.some((arg, at) => arg === option && args[at + 1] === value);

/** A configured command as the kernel knows it. */
export interface Program {
  /** Without links. */
  readonly path: string;
  /** Its interpreter is what runs, with it as the first argument. */
  readonly script: boolean;
}

const executes = ({ executable, args }: Started, command: string, { path, script }: Program): boolean => (script ? [path, findCommand(command)].includes(args[1] ?? '') : executable === path);

/** True for the container's monitor. @param conmon the program */
export function isMonitor(started: Started, where: Where, id: string, conmon: Program): boolean {
  return executes(started, where.options.conmon, conmon) && has(started.args, '--cid', id) && has(started.args, '--exit-dir', where.exitFolder);
}

/** True for the runtime at work on the container. @param runc the program */
export function isRuntime(started: Started, where: Where, id: string, runc: Program): boolean {
  const { args } = started;
  if (!executes(started, where.runc.command, runc) || !has(args, '--root', where.runc.root) || args.at(-1) !== id) return false;
  return changing.includes(args[args.indexOf('--root') + 2] ?? '');
}

/** Reads it; undefined if it has ended, is not of this service's user, or does not have the id among its arguments. */
async function startedAs(pid: number, id: string): Promise<Started | undefined> {
  const args = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0').slice(0, -1);
  if (!args.includes(id) || !(await isServiceUsers(pid))) return undefined;
  const executable = await readlink(`/proc/${pid}/exe`).catch(() => undefined);
  return executable === undefined ? undefined : { executable: executable.replace(/ \(deleted\)$/, ''), args }; // a package that was upgraded meanwhile
}

async function programOf(command: string): Promise<Program> {
  const found = findCommand(command);
  const path = await realpath(found).catch(() => found);
  const file = await open(path).catch(() => undefined);
  try {
    const first = await file?.read(Buffer.alloc(2), 0, 2, 0);
    return { path, script: first?.buffer.toString('latin1') === '#!' };
  } finally {
    await file?.close();
  }
}

/** True if that process is the container's monitor. */
export async function isMonitorPid(where: Where, id: string, pid: number): Promise<boolean> {
  const started = await startedAs(pid, id);
  return started !== undefined && isMonitor(started, where, id, await programOf(where.options.conmon));
}

/** Pids of monitors and runtimes of the container. */
export async function starters(where: Where, id: string): Promise<number[]> {
  const [conmon, runc] = await Promise.all([programOf(where.options.conmon), programOf(where.runc.command)]);
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    const started = await startedAs(Number(name), id);
    if (started && (isMonitor(started, where, id, conmon) || isRuntime(started, where, id, runc))) found.push(Number(name));
  }
  return found;
}
