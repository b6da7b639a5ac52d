/** Processes that came from outside. */
import { named } from '../guest.js';
import type { Reason } from '../reason.js';

export const visitors: Reason = {
  code: 'visitors', effect: 'blocks', passing: true,
  about: 'A process was put into the container from the host (`runc exec`): it is not below PID 1, so criu does not see to it.',
  find: (guest) => {
    const inside = new Set(guest.processes.map(({ pid }) => pid));
    return guest.processes.filter((process) => process.pid !== guest.init.pid && !inside.has(process.parent)).map((process) => `${named(process)} came from the host`);
  },
};
