/** Mounts of a folder without its file system. */
import type { Reason } from '../reason.js';

/** In memory, and never the host's: what the runtime bind-mounts from the host is of other types. */
const inMemory = new Set(['tmpfs', 'ramfs']);

export const partialMounts: Reason = {
  code: 'partial-mounts', effect: 'blocks', passing: false,
  about: 'A folder of a file system in memory is mounted, but its root nowhere in the container: criu has no place to make it again from. systemd does this for services with DynamicUser=.',
  find: (guest) => {
    const all = [...guest.mounts.values()].flat().filter(({ type }) => inMemory.has(type));
    const whole = new Set(all.filter(({ root }) => root === '/').map(({ device }) => device));
    return [...new Set(all.filter(({ device, point }) => !whole.has(device) && !point.startsWith('/run/systemd/')).map(({ point, root }) => `${point} is the folder ${root} of a file system whose root is mounted nowhere`))];
  },
};
