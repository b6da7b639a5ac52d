/** Open files whose name was removed while they have another. */
import { eachFile, type Reason } from '../reason.js';

export const renamedFiles: Reason = {
  code: 'renamed-files', effect: 'blocks', passing: false,
  about: 'A file is open by a name that was removed, but has another name (a hard link): criu would need a third one while it is frozen.',
  find: (guest) => eachFile(guest, ({ kind, link, links }) => (kind === 'file' && links > 0 && link.endsWith(' (deleted)') && !link.startsWith('/memfd:') ? `has ${link.replace(/ \(deleted\)$/, '')} open, which was deleted but has another name` : undefined)),
};
