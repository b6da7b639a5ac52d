/** inotify on deleted files. */
import { named } from '../guest.js';
import type { Reason } from '../reason.js';
import { eachFile } from '../reason.js';

export const watchedUnlinked: Reason = {
  code: 'watched-unlinked', effect: 'traps', passing: false,
  about: 'A file is watched by inotify that has no name any more: criu saves the watch but cannot set it again.',
  find: (guest) => {
    const unlinked = new Map(guest.processes.flatMap((process) => process.files
      .filter((file) => file.link.endsWith(' (deleted)') && !file.link.startsWith('/memfd:'))
      .flatMap((file) => {
        const inode = /^ino:\s*(\d+)$/m.exec(file.info)?.[1];
        return inode ? [[Number(inode), `${file.link} of ${named(process)}`] as const] : [];
      })));
    return eachFile(guest, (file) => {
      if (file.link !== 'anon_inode:inotify') return undefined;
      const watched = [...file.info.matchAll(/^inotify wd:\S+ ino:([0-9a-f]+)/gm)].flatMap((match) => unlinked.get(parseInt(match[1] as string, 16)) ?? []);
      return watched.length > 0 ? `watches a deleted file: ${watched.join(', ')}` : undefined;
    });
  },
};
