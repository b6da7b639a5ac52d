/**
 * Gives PID 1 the console in criu's images if no process had it open.
 *
 * criu makes a terminal anew, and hands its other end to the monitor, for those who have it open. A system whose processes have all closed
 * their console (systemd without a getty there, sysvinit between two gettys) would come back without one: the monitor waits for its end
 * in vain, and nothing can ever be written to /dev/console again. One descriptor more of PID 1, closed on exec, is enough. What
 * is written here is what criu itself writes for a process with an open console.
 */
import { HaulierError, messageOf } from '../../base/errors.js';
import { addToImage, readImage, readOptionalImage } from './image-file.js';
import { writeMessage, type Message } from './protobuf.js';

/** criu's include/magic.h */
const ttyInfoMagic = 0x5945_3036;
const filesMagic = 0x5630_3138;
const fdinfoMagic = 0x5621_3732;
/** fdinfo.proto, tty.proto, mnt.proto */
const regularFile = 1;
const terminalFile = 11;
const pty = 1;
const devpts = 6;
const closeOnExec = 1;
/** The slave end of pty 0: the first that the runtime makes. */
const consoleId = 0;
const consoleDevice = 0x8800; // 136:0
const readWrite = 2;
/** Out of the way of what a program counts on: the lowest free number. */
const lowestFd = 200;

/** criu keeps the 19 control characters in the first words, as they lie in memory: ^C, ^\, DEL, ^U, ^D ... */
const controlCharacters = [0x157f_1c03, 0x0001_0004, 0x001a_1311, 0x1617_0f12, ...Array<number>(15).fill(0)];
const termios = (modes: readonly number[], characters: readonly number[]): Buffer => writeMessage(
  ...modes.map((mode, index) => [index + 1, mode] as const), ...[0, 0, 0].map((value, index) => [index + 5, value] as const), ...characters.map((word) => [8, word] as const),
);
/** As the runtime sets a console up: a new pty without onlcr. */
const settings = termios([0x500, 0x1, 0xbf, 0x8a3b], controlCharacters);
const unlocked = termios([0, 0, 0, 0], Array<number>(19).fill(0));
const windowSize = writeMessage([1, 25], [2, 80], [3, 0], [4, 0]);
const noOwner = writeMessage([1, 0], [2, 0], [3, 0], [4, 0], [5, 0]);
const ttyGid = 5;

const pointOf = (mount: Message): string => mount.text(7).replace(/^\.\//, '/');
const zigzag = (value: number): number => value * 2;

/**
 * @param images criu's images of a dump that succeeded
 * @returns true if the console was added; false if somebody has it open
 * @throws SUSPEND_FAILED if the images cannot be understood, or the guest took its console away: it could not be resumed
 */
export async function keepConsole(images: string): Promise<boolean> {
  try {
    if ((await readOptionalImage(images, 'tty-info')).some((terminal) => terminal.number(1) === consoleId)) return false;
    const [ids] = await readImage(images, 'ids-1');
    const mounts = await readImage(images, `mountpoints-${ids?.number(9)}`);
    const console = mounts.find((mount) => pointOf(mount) === '/dev/console' && mount.text(6) === '/0' && mount.number(1) === devpts);
    const folder = mounts.find((mount) => mount.number(3) === console?.number(3) && mount.text(6) === '/');
    if (!folder) throw new Error('it has taken its console away');
    const descriptors = `fdinfo-${ids?.number(2)}`;
    const [files, open] = await Promise.all([readOptionalImage(images, 'files'), readOptionalImage(images, descriptors)]);
    const file = 1 + Math.max(0, ...files.map((entry) => entry.number(2)));
    const name = file + 1;
    const fd = Math.max(lowestFd, ...open.map((entry) => entry.number(4) + 1));

    await addToImage(images, 'tty-info', ttyInfoMagic, writeMessage(
      [1, consoleId], [2, pty], [3, 0], [4, 0], [5, 0], [6, 0], [7, 0], [8, consoleDevice], [9, settings], [10, unlocked], [11, windowSize],
      [12, writeMessage([1, 0])], [13, folder.number(3)], [14, 0], [15, ttyGid],
    ));
    await addToImage(
      images, 'files', filesMagic,
      writeMessage([1, regularFile], [2, name], [3, writeMessage([1, name], [2, readWrite], [3, 0], [5, noOwner], [6, `${pointOf(folder)}/0`], [7, zigzag(folder.number(2))])]),
      writeMessage([1, terminalFile], [2, file], [19, writeMessage([1, file], [2, consoleId], [3, readWrite], [4, noOwner], [6, name])]),
    );
    await addToImage(images, descriptors, fdinfoMagic, writeMessage([1, file], [2, closeOnExec], [3, terminalFile], [4, fd]));
    return true;
  } catch (error) {
    throw new HaulierError('SUSPEND_FAILED', { reason: `its console could not be resumed: ${messageOf(error)}` }, { cause: error });
  }
}
