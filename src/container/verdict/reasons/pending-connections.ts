/** Connections under way. */
import { eachFile, socketInode, type Reason } from '../reason.js';

const listening = '0A';
const unixConnecting = '02';

export const pendingConnections: Reason = {
  code: 'pending-connections', effect: 'blocks', passing: true,
  about: 'A connection was made that its server has not accepted yet: it belongs to nobody whom criu could give it to.',
  find: (guest) => eachFile(guest, (file) => {
    const socket = guest.sockets.get(socketInode(file) ?? -1);
    if (!socket) return undefined;
    if (socket.family.startsWith('tcp') && socket.state === listening && socket.unread > 0) return `has ${socket.unread} connection(s) waiting that it has not accepted (descriptor ${file.fd})`;
    return socket.family === 'unix' && socket.state === unixConnecting ? `waits to be accepted by a Unix socket (descriptor ${file.fd})` : undefined;
  }),
};
