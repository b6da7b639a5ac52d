/** inotify on a file with the number of the root directory. */
import type { Reason } from '../reason.js';
import { eachFile } from '../reason.js';

export const watchedRootNumber: Reason = {
  code: 'watched-root-number', effect: 'traps', passing: false,
  about: 'A file is watched by inotify that has the inode number of "/" on another file system: criu compares numbers only, takes it for "/", and cannot set the watch again.',
  find: (guest) => eachFile(guest, (file) => {
    if (file.link !== 'anon_inode:inotify') return undefined;
    const { inode, device } = guest.root;
    const watched = [...file.info.matchAll(/^inotify wd:\S+ ino:([0-9a-f]+) sdev:([0-9a-f]+)/gm)]
      .filter(([, ino, sdev]) => parseInt(ino as string, 16) === inode && parseInt(sdev as string, 16) !== device);
    return watched.length > 0 ? `watches a file whose inode number, ${inode}, is also that of "/"` : undefined;
  }),
};
