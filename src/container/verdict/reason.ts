/** One reason why a container cannot be frozen: a row of the table in verdict.ts, one file each in reasons/. */
import { named, type Guest, type GuestFile, type GuestProcess } from './guest.js';

/** A reason. */
export interface Reason {
  readonly code: string;
  /** One line for the documentation: what it is about, and why criu cannot. */
  readonly about: string;
  /** `blocks`: a dump fails. `traps`: it works, but the restore would fail, so nothing is dumped. `loses`: both work, but something does not come back. */
  readonly effect: 'blocks' | 'traps' | 'loses';
  /** True if waiting a moment may be enough. */
  readonly passing: boolean;
  /** What is in the way, in plain words, one line each; empty if nothing. */
  readonly find: (guest: Guest) => readonly string[];
}

/** Lines for the open files that `test` speaks of: it gives what is wrong with a file, or undefined. */
export function eachFile(guest: Guest, test: (file: GuestFile, process: GuestProcess) => string | undefined): string[] {
  return guest.processes.flatMap((process) => process.files.flatMap((file) => {
    const problem = test(file, process);
    return problem === undefined ? [] : [`${named(process)} ${problem}`];
  }));
}

/** Inode of a socket's link; undefined for other files. */
export function socketInode(file: GuestFile): number | undefined {
  const match = /^socket:\[(\d+)\]$/.exec(file.link);
  return match ? Number(match[1]) : undefined;
}
