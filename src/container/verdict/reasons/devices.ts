/** Devices. */
import { eachFile, type Reason } from '../reason.js';

const memoryDevices = 1;
const terminals = new Set([4, 5, ...Array.from({ length: 8 }, (_, index) => 136 + index)]);
/** null, zero, full, random, urandom, kmsg. */
const plain = new Set([3, 5, 7, 8, 9, 11]);

export const devices: Reason = {
  code: 'devices', effect: 'blocks', passing: false,
  about: 'A device is open whose state is in the kernel or in hardware: everything but terminals, null, zero, full, random and the like.',
  find: (guest) => eachFile(guest, ({ kind, device, link }) => {
    if (kind !== 'character device' && kind !== 'block device') return undefined;
    if (kind === 'character device' && (terminals.has(device.major) || (device.major === memoryDevices && plain.has(device.minor)))) return undefined;
    return `has the ${kind} ${link} (${device.major}:${device.minor}) open`;
  }),
};
