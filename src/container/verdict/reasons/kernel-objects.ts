/** Kernel objects behind a descriptor. */
import { eachFile, type Reason } from '../reason.js';

/** What criu knows (its files.c), and what has a reason of its own. */
const carried = /^anon_inode:(?:\[(?:eventfd|eventpoll|signalfd|timerfd|pidfd|io_uring)\]|inotify|bpf-map|\[fanotify\])$/;

export const kernelObjects: Reason = {
  code: 'kernel-objects', effect: 'blocks', passing: false,
  about: 'A kernel object is open that criu has no image of: perf events, user fault handlers, seccomp listeners, BPF programs, KVM.',
  find: (guest) => eachFile(guest, (file) => (file.link.startsWith('anon_inode:') && !carried.test(file.link) ? `has a kernel object open that cannot be saved: ${file.link.slice('anon_inode:'.length)}` : undefined)),
};
