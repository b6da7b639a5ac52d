/** io_uring. */
import { eachFile, type Reason } from '../reason.js';

export const ioUring: Reason = {
  code: 'io-uring', effect: 'blocks', passing: false,
  about: 'An io_uring queue is open: its requests live in the kernel, and criu cannot read them.',
  find: (guest) => eachFile(guest, (file) => (file.link === 'anon_inode:[io_uring]' ? `has an io_uring queue open (descriptor ${file.fd})` : undefined)),
};
