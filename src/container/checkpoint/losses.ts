/**
 * What a criu took with it that was killed: one in 60 of those that are killed at a random moment of a dump ends a process, because
 * its code was running inside it. Nothing can be done about it: at least it is said.
 */
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

/** Those of the processes that criu's code is mapped in: they may end by it as soon as they go on (compel/src/lib/infect.c: its memfd's name). */
export function carriers(processes: readonly NamedProcess[]): NamedProcess[] {
  return processes.filter(({ pid }) => textOf(`/proc/${pid}/maps`).includes('/memfd:CRIUMFD'));
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
