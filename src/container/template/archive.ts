/**
 * A template's layer as an archive, as Glance has templates: what lies in the cache has overlayfs's marks, which no archive of an image
 * may bring (`image/whiteouts.ts`). They become whiteouts of OCI again.
 */
import { join } from 'node:path/posix';
import { HaulierError } from '../../base/errors.js';
import { jailed } from '../image/jail.js';
import { startPiped } from '../image/piped-process.js';
import { TarNames } from '../image/tar-names.js';
import { tarHeader } from '../image/tar-writer.js';
import { opaqueName, whiteoutPrefix } from '../image/whiteouts.js';
import { archiveBehind, archivePaths, type Archive } from '../snapshot/archive.js';
import { listTree, type TreeList } from './tree-list.js';

const opaqueMark = 'trusted.overlay.opaque';

/** Archives the layer at `folder`, a template's tree in the cache. @throws COMMAND_FAILED, the signal's reason */
export async function archiveLayer(folder: string, signal: AbortSignal): Promise<Archive> {
  const tree = await listTree(folder, signal);
  const marks = [...hiding(tree), ...(await opaqueFolders(folder, tree, signal)).map((path) => join(path, opaqueName))];
  const headers = marks.map((name) => tarHeader({ name: `./${name}`, type: 'empty file', mode: 0o600, uid: 0, gid: 0, mtime: '0' }));
  return await archiveBehind(Buffer.concat(headers), archivePaths(folder, [...tree].flatMap(([path, { type }]) => (type === 'c' ? [] : [path]))));
}

/** Whiteouts in place of overlayfs's, which are the only devices that a layer can have. */
function hiding(tree: TreeList): string[] {
  return [...tree].filter(([, { type }]) => type === 'c').map(([path]) => {
    const at = path.lastIndexOf('/') + 1;
    return `${path.slice(0, at)}${whiteoutPrefix}${path.slice(at)}`;
  });
}

/** tar tells attributes of overlayfs; find does not. */
async function opaqueFolders(folder: string, tree: TreeList, signal: AbortSignal): Promise<string[]> {
  const folders = [...tree].filter(([path, { type }]) => type === 'd' && path !== '').map(([path]) => `./${path}\0`);
  const command = ['tar', '--create', '--file=-', '--format=posix', '--xattrs', `--xattrs-include=${opaqueMark}`, '--no-recursion', '--null', '--verbatim-files-from', '--files-from=-'];
  const tar = startPiped(jailed(command, { folder: { path: folder, writable: false }, capabilities: ['CAP_DAC_READ_SEARCH', 'CAP_SYS_ADMIN'] })); // SYS_ADMIN: `trusted`
  const onAbort = (): void => tar.kill();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    tar.stdin.end(Buffer.from(folders.join(''), 'latin1'));
    const names = new TarNames();
    const found: string[] = [];
    for await (const chunk of tar.stdout) {
      for (const { name, records } of names.add(chunk as Buffer)) if (records.get(`SCHILY.xattr.${opaqueMark}`) === 'y') found.push(name.replace(/^\.\/|\/$/g, ''));
    }
    const { code, stderr } = await tar.ended;
    signal.throwIfAborted();
    if (code !== 0) throw new HaulierError('COMMAND_FAILED', { command: 'tar', outcome: `exit code ${code}`, stderr: stderr.trim().slice(0, 500) });
    return found;
  } finally {
    signal.removeEventListener('abort', onAbort);
    tar.kill();
    await tar.ended.catch(() => undefined);
  }
}
