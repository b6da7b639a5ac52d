/** Debuggers. */
import { named } from '../guest.js';
import type { Reason } from '../reason.js';

export const traced: Reason = {
  code: 'traced', effect: 'blocks', passing: true,
  about: 'A process is being traced (strace, gdb): a process has one tracer, and criu would have to be it.',
  find: (guest) => guest.processes.filter(({ tracer }) => tracer !== 0).map((process) => {
    const by = guest.processes.find(({ pid }) => pid === process.tracer);
    return `${named(process)} is traced by ${by ? named(by) : `process ${process.tracer} of the host`}`;
  }),
};
