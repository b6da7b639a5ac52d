/** Socket families. */
import { eachFile, socketInode, type Reason } from '../reason.js';

export const socketFamilies: Reason = {
  code: 'socket-families', effect: 'blocks', passing: false,
  about: 'A socket is neither TCP, UDP, raw, Unix, netlink nor packet: vsock, SCTP, Bluetooth, kernel crypto and others have no image.',
  find: (guest) => eachFile(guest, (file) => {
    const inode = socketInode(file);
    if (inode === undefined) return undefined;
    const family = guest.sockets.get(inode)?.family;
    // a TCP or UDP socket that is neither bound nor connected is in no table either; its protocol is told by an attribute of the file
    if (family === undefined) return undefined;
    return family.startsWith('icmp') ? `has an ICMP ("ping") socket open (descriptor ${file.fd})` : undefined;
  }),
};
