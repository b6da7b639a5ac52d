/** netlink. */
import { eachFile, socketInode, type Reason } from '../reason.js';

export const netlinkUnread: Reason = {
  code: 'netlink-unread', effect: 'blocks', passing: true,
  about: 'A netlink socket has messages that nobody has read: criu cannot take them out without the reader losing them.',
  find: (guest) => eachFile(guest, (file) => {
    const socket = guest.sockets.get(socketInode(file) ?? -1);
    return socket?.family === 'netlink' && socket.unread > 0 ? `has unread messages in a netlink socket (descriptor ${file.fd})` : undefined;
  }),
};
