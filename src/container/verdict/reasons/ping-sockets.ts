/** ICMP sockets. */
import { eachFile, socketInode, type Reason } from '../reason.js';

export const pingSockets: Reason = {
  code: 'ping-sockets', effect: 'traps', passing: true,
  about: 'An ICMP ("ping") socket is open: criu saves it but cannot open it again.',
  find: (guest) => eachFile(guest, (file) => (guest.sockets.get(socketInode(file) ?? -1)?.family.startsWith('icmp') ? `has an ICMP ("ping") socket open (descriptor ${file.fd})` : undefined)),
};
