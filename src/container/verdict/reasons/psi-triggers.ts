/** Pressure watches. */
import { eachFile, type Reason } from '../reason.js';

const accessMode = 3;

export const psiTriggers: Reason = {
  code: 'psi-triggers', effect: 'traps', passing: false,
  about: 'A pressure file is open for writing: the trigger in it is lost, and its reader would spin after a restore.',
  find: (guest) => eachFile(guest, ({ link, flags }) => (/^\/proc\/pressure\/|\.pressure$/.test(link) && (flags & accessMode) !== 0 ? `watches the pressure file ${link}: the trigger in it would be lost, and the watcher spin` : undefined)),
};
