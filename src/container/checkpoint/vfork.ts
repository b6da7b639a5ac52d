/**
 * Processes that stand in the middle of a vfork (also posix_spawn): the parent sleeps, deaf to everything, until its child runs another
 * program. Frozen there, criu stops the child and then waits in vain for the parent: it gives up after 10 s. Shells do this for every
 * command, so a container that happens to be caught so is let go for a moment.
 */
import { foldersIn, textOf } from '../kernel-files.js';

/** Numbers of vfork, clone and clone3 (linux/unistd.h); nothing else sleeps in them. */
const calls: Readonly<Record<string, readonly string[]>> = { x64: ['56', '58', '435'], arm64: ['220', '435'] };

/** True if the text of `/proc/PID/syscall` is that of such a parent. */
export function sleepsInVfork(syscall: string, arch: string): boolean {
  return (calls[arch] ?? []).includes(syscall.split(' ', 1)[0] as string);
}

/** True if a thread of these frozen processes stands in one. */
export function someInVfork(pids: readonly number[]): boolean {
  return pids.some((pid) => foldersIn(`/proc/${pid}/task`).some((thread) => sleepsInVfork(textOf(`/proc/${pid}/task/${thread}/syscall`), process.arch)));
}
