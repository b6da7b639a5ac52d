/**
 * What a criu took with it that was killed: one in 60 of those that are killed at a random moment of a dump ends a process, because
 * its code was running inside it. Nothing can be done about it: at least it is said.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { HaulierError, isHaulierError } from '../../base/errors.js';
import { cgroupPids } from '../cgroup.js';
import { textOf } from '../kernel-files.js';
import { cgroupsPath, type HostParts } from '../parts.js';
import { identify, isAlive, type ProcessId } from '../process.js';

/** A process and its program's name. */
export interface NamedProcess extends ProcessId {
  readonly name: string;
}

/** The container's processes. */
export function namedProcesses(parts: HostParts, id: string): NamedProcess[] {
  return cgroupPids(parts.cgroups, cgroupsPath(parts, id)).flatMap((pid) => {
    const process = identify(pid);
    return process ? [{ ...process, name: textOf(`/proc/${pid}/comm`).trim() }] : [];
  });
}

/** Those of the processes that criu's code is in: they may end by it as soon as they go on (compel/src/lib/infect.c: its memfd's name). */
export function carriers(processes: readonly NamedProcess[]): NamedProcess[] {
  return processes.filter(({ pid }) => {
    const maps = textOf(`/proc/${pid}/maps`);
    return maps.includes('/memfd:CRIUMFD') || isOverwritten(pid, maps);
  });
}

/** A system call and a trap, by architecture (compel/arch/SUBARCH/src/lib/infect.c, `code_syscall`). */
const injected: Readonly<Partial<Record<NodeJS.Architecture, Buffer>>> = { x64: Buffer.from('0f05cccccccccccc', 'hex'), arm64: Buffer.from('010000d4000020d4', 'hex') };

/** Before its own code is there criu has a process make system calls, one by one, where its first program text begins, and puts the text back after each. */
function isOverwritten(pid: number, maps: string): boolean {
  const code = injected[process.arch];
  const starts = maps.split('\n').flatMap((line) => /^([0-9a-f]+)-\S+ ..x/.exec(line)?.[1] ?? []);
  if (!code || starts.length === 0) return false;
  const found = Buffer.alloc(code.length);
  try {
    const memory = openSync(`/proc/${pid}/mem`, 'r');
    try {
      return starts.some((start) => readSync(memory, found, 0, found.length, BigInt(`0x${start}`)) === found.length && found.equals(code));
    } finally {
      closeSync(memory);
    }
  } catch {
    return false; // it has ended, or has its vsyscall page read
  }
}

/**
 * Adds to the error of a dump whose criu was killed which of the processes are gone, once the container goes on, and which may follow.
 * @param carrying what `carriers` said while the container stood still
 */
export function withLosses(error: unknown, stoodStill: readonly NamedProcess[], carrying: readonly NamedProcess[]): unknown {
  if (!isHaulierError(error, 'SUSPEND_FAILED') || error.details['killed'] !== true) return error;
  const names = (processes: readonly NamedProcess[]): string => processes.map(({ name }) => name).join(', ');
  const lost = names(stoodStill.filter((process) => !isAlive(process)));
  const doubtful = names(carrying.filter(isAlive));
  const reason = [String(error.details['reason']), ...(lost === '' ? [] : [`gone since then, maybe with it: ${lost}`]), ...(doubtful === '' ? [] : [`its code was left in: ${doubtful}`])].join('; ');
  return new HaulierError('SUSPEND_FAILED', { ...error.details, reason }, { cause: error });
}
