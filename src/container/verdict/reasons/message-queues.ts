/** POSIX message queues. */
import { eachFile, type Reason } from '../reason.js';

export const messageQueues: Reason = {
  code: 'message-queues', effect: 'blocks', passing: false,
  about: 'A POSIX message queue is open: criu carries System V queues, but not these.',
  find: (guest) => {
    const mounts = new Set([...guest.mounts.values()].flat().filter(({ type }) => type === 'mqueue').map(({ id }) => id));
    const visible = new Set([...guest.mounts.values()].flat().map(({ id }) => id));
    // mq_open(3) opens on a mount inside the kernel that no process sees: a path of one part, on a mount that is in no table
    return eachFile(guest, (file) => (file.kind === 'file' && (mounts.has(file.mountId) || (!visible.has(file.mountId) && /^\/[^/]+$/.test(file.link) && /QSIZE|^\/[^/ ]+$/.test(file.link) && !file.link.startsWith('/memfd:'))) ? `has the message queue ${file.link} open` : undefined));
  },
};
