/**
 * Makes files of lxcfs in criu's images ones that are found again. criu notes how long an open file is, and refuses one that has
 * another length at the restore; the length of these is that of what the kernel says just then.
 */
import { HaulierError, messageOf } from '../../base/errors.js';
import { figureFiles } from '../figures/lxcfs.js';
import { changeImage, readOptionalImage } from './image-file.js';
import { Message, rewritten, without } from './protobuf.js';

/** fdinfo.proto's `reg`; regfile.proto's `name`, `size`. */
const regularFile = 3;
const nameField = 6;
const sizeField = 8;

const isFigure = (file: Message | undefined): boolean => file !== undefined && file.has(sizeField) && figureFiles.includes(file.text(nameField));

/**
 * @param images criu's images of a dump that succeeded
 * @throws SUSPEND_FAILED if they cannot be understood
 */
export async function forgetLengths(images: string): Promise<void> {
  try {
    if (!(await readOptionalImage(images, 'files')).some((file) => isFigure(file.message(regularFile)))) return;
    await changeImage(images, 'files', (bytes) => rewritten(bytes, regularFile, (file) => (isFigure(new Message(file)) ? without(file, sizeField) : file)));
  } catch (error) {
    throw new HaulierError('SUSPEND_FAILED', { reason: `its open files of lxcfs could not be resumed: ${messageOf(error)}` }, { cause: error });
  }
}

/** Whether the container of these images has files of lxcfs, or of a host in their place. */
export async function hasFigures(images: string): Promise<boolean> {
  const [ids] = await readOptionalImage(images, 'ids-1');
  const mounts = ids ? await readOptionalImage(images, `mountpoints-${ids.number(9)}`) : [];
  return mounts.some((mount) => figureFiles.includes(mount.text(7).replace(/^\.\//, '/')));
}
