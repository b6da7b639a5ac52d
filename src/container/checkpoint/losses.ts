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

/** Adds to the error of a dump whose criu was killed which of the processes are gone, once the container goes on. */
export function withLosses(error: unknown, stoodStill: readonly NamedProcess[]): unknown {
  if (!isHaulierError(error, 'SUSPEND_FAILED') || error.details['killed'] !== true) return error;
  const lost = stoodStill.filter((process) => !isAlive(process)).map(({ name }) => name).join(', ');
  return lost === '' ? error : new HaulierError('SUSPEND_FAILED', { ...error.details, reason: `${String(error.details['reason'])}; gone since then, maybe with it: ${lost}` }, { cause: error });
}
