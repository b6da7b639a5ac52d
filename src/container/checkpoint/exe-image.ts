/**
 * Makes the programs in criu's images ones that can be given to a process again.
 *
 * systemd (from 254 on) starts everything by a descriptor that it opened with O_PATH. criu notes the flag with the program's file, opens
 * it so at the restore, and the kernel does not take such a descriptor as a process's program (EBADF). Whoever has logged in has such a
 * process, `(sd-pam)`: all others have executed something else since.
 */
import { readdir } from 'node:fs/promises';
import { HaulierError, messageOf } from '../../base/errors.js';
import { changeImage, readImage, readOptionalImage } from './image-file.js';
import { Message, withNumber } from './protobuf.js';

const O_PATH = 0x20_0000;
/** fdinfo.proto's `reg`, regfile.proto's `flags`; mm.proto's `exe_file_id`. */
const regularFile = 3;
const flags = 2;
const exeFile = 12;

const isBare = (file: Message): boolean => ((file.message(regularFile)?.number(flags) ?? 0) & O_PATH) !== 0;

/**
 * @param images criu's images of a dump that succeeded
 * @throws SUSPEND_FAILED if they cannot be understood
 */
export async function openPrograms(images: string): Promise<void> {
  try {
    const bare = new Set((await readOptionalImage(images, 'files')).filter(isBare).map((file) => file.number(2)));
    if (bare.size === 0) return;
    const names = (await readdir(images)).flatMap((name) => /^(mm-\d+)\.img$/.exec(name)?.[1] ?? []);
    const programs = new Set((await Promise.all(names.map((name) => readImage(images, name)))).flat().map((mm) => mm.number(exeFile)).filter((id) => bare.has(id)));
    if (programs.size === 0) return;
    await changeImage(images, 'files', (bytes) => {
      const file = new Message(bytes);
      return programs.has(file.number(2)) && isBare(file) ? withNumber(bytes, [regularFile, flags], (file.message(regularFile)?.number(flags) ?? 0) & ~O_PATH) : bytes;
    });
  } catch (error) {
    throw new HaulierError('SUSPEND_FAILED', { reason: `its programs could not be resumed: ${messageOf(error)}` }, { cause: error });
  }
}
