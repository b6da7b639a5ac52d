/** Namespaces. */
import { named } from '../guest.js';
import type { Reason } from '../reason.js';

/** Mount and cgroup namespaces may be nested; these may not. */
const single = ['uts', 'ipc', 'user', 'time', 'pid_for_children', 'net'] as const;
const words: Readonly<Record<(typeof single)[number], string>> = { uts: 'a host name (UTS)', ipc: 'an IPC', user: 'a user', time: 'a time', pid_for_children: 'a PID', net: 'a network' };

export const nestedNamespaces: Reason = {
  code: 'nested-namespaces', effect: 'blocks', passing: false,
  about: 'A process has a UTS, IPC, user, time, PID or network namespace other than PID 1: criu knows only one of each kind in a container.',
  find: (guest) => single.flatMap((kind) => guest.processes
    .filter((process) => process.namespaces[kind] !== guest.init.namespaces[kind] && process.namespaces[kind] !== '')
    .map((process) => `${named(process)} has ${words[kind]} namespace of its own`)),
};
