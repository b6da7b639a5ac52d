/**
 * What a layer takes away from those below it. In an archive as in OCI's layers (image-spec, layer.md): an empty file `.wh.NAME` hides
 * NAME, `.wh..wh..opq` in a folder hides all that layers below have in it. On the disk as overlayfs wants it: a character device 0/0,
 * and `trusted.overlay.opaque` (kernel's overlayfs.rst). The image jail drops device nodes of archives, so no layer can bring its own.
 *
 * The tree is hostile. It is read and changed in the jail only; what is made in it comes out of an archive that is written here.
 */
import { isHaulierError, messageOf } from '../../base/errors.js';
import { unacceptable } from './image-error.js';
import { runJailed } from './jailed-run.js';
import { tarEnd, tarHeader, type TarEntry } from './tar-writer.js';

/** Prefix of a whiteout's name in an archive, and the name of the one that hides a folder's content. */
export const whiteoutPrefix = '.wh.';
export const opaqueName = '.wh..wh..opq';
/** Names that aufs keeps for itself; they mean nothing here. */
const reservedPrefix = '.wh..wh.';

interface Item {
  readonly type: string;
  readonly attributes: Omit<TarEntry, 'name' | 'type' | 'xattrs'>;
}

const changing = ['CAP_CHOWN', 'CAP_FOWNER', 'CAP_FSETID', 'CAP_DAC_OVERRIDE'];

async function inJail(image: string, command: readonly string[], path: string, capabilities: readonly string[], input: Buffer | undefined, signal: AbortSignal): Promise<string> {
  const end = await runJailed(command, { folder: { path, writable: capabilities !== reading }, capabilities }, input, signal).catch((error: unknown) => {
    throw isHaulierError(error, 'COMMAND_FAILED') ? unacceptable(image, `its tree cannot be read: ${messageOf(error)}`, error) : error;
  });
  if (end.code !== 0) throw unacceptable(image, `its whiteouts cannot be applied: ${end.stderr.trim().slice(0, 300)}`);
  return end.stdout;
}

const reading = ['CAP_DAC_READ_SEARCH'];

async function readTree(image: string, folder: string, signal: AbortSignal): Promise<Map<string, Item>> {
  const text = await inJail(image, ['find', '.', '-xdev', '-printf', '%y %m %U %G %T@ %P\\0'], folder, reading, undefined, signal);
  return new Map(text.split('\0').filter(Boolean).map((line) => {
    const [type = '', mode = '', uid = '', gid = '', mtime = ''] = line.split(' ', 5);
    const path = line.slice([type, mode, uid, gid, mtime].reduce((sum, field) => sum + field.length + 1, 0));
    return [path, { type, attributes: { mode: parseInt(mode, 8), uid: Number(uid), gid: Number(gid), mtime } }];
  }));
}

/**
 * Turns the whiteouts of an unpacked layer into overlayfs's.
 * @throws IMAGE_UNACCEPTABLE for one that is no plain file or names nothing, COMMAND_FAILED, the signal's reason
 */
export async function applyWhiteouts(image: string, folder: string, signal: AbortSignal): Promise<void> {
  const tree = await readTree(image, folder, signal);
  const touched = new Set<string>();
  const opaque = new Set<string>();
  const hidden: string[] = [];
  for (const [path, { type }] of tree) {
    const slash = path.lastIndexOf('/');
    const parent = path.slice(0, Math.max(0, slash));
    const name = path.slice(slash + 1);
    if (!name.startsWith(whiteoutPrefix)) continue;
    if (type !== 'f') throw unacceptable(image, `its whiteout ${path} is no plain file`);
    touched.add(parent);
    if (name === opaqueName && parent === '') throw unacceptable(image, 'it hides the whole tree below it');
    if (name === opaqueName) opaque.add(parent);
    if (name.startsWith(reservedPrefix)) continue;
    const target = name.slice(whiteoutPrefix.length);
    if (target === '' || target === '.' || target === '..') throw unacceptable(image, `its whiteout ${path} names nothing`);
    const at = parent === '' ? target : `${parent}/${target}`;
    const there = tree.get(at);
    if (there?.type === 'd') opaque.add(at); // both taken away and made anew
    else if (!there) hidden.push(at);
  }
  if (touched.size === 0) return;
  const entry = (path: string, type: TarEntry['type'], xattrs?: TarEntry['xattrs']): Buffer => tarHeader({
    ...(tree.get(path)?.attributes ?? { mode: 0, uid: 0, gid: 0, mtime: '0' }), name: path === '' ? './' : type === 'directory' ? `${path}/` : path, type, ...(xattrs ? { xattrs } : {}),
  });
  const archive = Buffer.concat([
    ...hidden.map((path) => entry(path, 'whiteout')),
    // folders get their times back, which the changes in them have spoiled
    ...[...new Set([...touched, ...opaque])].map((path) => entry(path, 'directory', opaque.has(path) ? { 'trusted.overlay.opaque': 'y' } : undefined)),
    tarEnd,
  ]);
  await inJail(image, ['find', '.', '-xdev', '-name', `${whiteoutPrefix}*`, '-delete'], folder, changing, undefined, signal);
  const extract = ['tar', '--extract', '--file=-', '--numeric-owner', '--same-owner', '--preserve-permissions', '--delay-directory-restore', '--xattrs', '--xattrs-include=trusted.overlay.opaque'];
  // CAP_SYS_ADMIN: `trusted.*`. tar reads nothing but our own archive with it
  await inJail(image, extract, folder, [...changing, 'CAP_SYS_ADMIN'], archive, signal);
}
