/** Files from outside. */
import { eachFile, type Reason } from '../reason.js';

export const hostFiles: Reason = {
  code: 'host-files', effect: 'blocks', passing: false,
  about: 'A file of the host is open in the container, on a mount that the container does not have.',
  find: (guest) => {
    const visible = new Set([...guest.mounts.values()].flat().map(({ id }) => id));
    return eachFile(guest, ({ kind, mountId, link }) => (
      (kind === 'file' || kind === 'folder') && !visible.has(mountId) && /^\/[^/]+\//.test(link) && !link.startsWith('/memfd:') ? `has a file open that is not in the container: ${link}` : undefined));
  },
};
