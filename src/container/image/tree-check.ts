/** A look at an unpacked tree: the things that tar has no option to refuse. */
import { readdir } from 'node:fs/promises';
import { unacceptable } from './image-error.js';
import { jailed } from './jail.js';
import { startPiped } from './piped-process.js';

/** Highest uid and gid that a private range can hold. */
export const maxId = 65_535;

/** What a tree holds. */
export interface TreeSize {
  readonly entries: number;
  /** Sum of the files' apparent sizes, bytes; a hard-linked file counts once. */
  readonly bytes: number;
}

/**
 * Walks the tree under `folder` (find, in the jail, read-only) and adds it up.
 * @throws IMAGE_UNACCEPTABLE for an owner above 65535, a device node, or more apparent bytes (holes count) than `maxBytes`
 */
export async function checkTree(image: string, folder: string, maxBytes: number, signal: AbortSignal): Promise<TreeSize> {
  signal.throwIfAborted();
  const find = startPiped(jailed(
    ['find', '.', '-xdev', '-mindepth', '1', '-printf', '%y %U %G %s %n\\n'],
    { folder: { path: folder, writable: false }, capabilities: ['CAP_DAC_READ_SEARCH'] },
  ));
  find.stdin.end();
  const onAbort = (): void => find.kill();
  signal.addEventListener('abort', onAbort, { once: true });
  let entries = 0;
  let bytes = 0;
  try {
    let rest = '';
    for await (const chunk of find.stdout) {
      const lines = (rest + (chunk as Buffer).toString('latin1')).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const [type, uid, gid, size, links] = line.split(' ');
        entries++;
        if (Number(uid) > maxId || Number(gid) > maxId) throw unacceptable(image, `it has a file owned by ${uid}:${gid}; ids above ${maxId} do not fit into a container's range`);
        if (type === 'b' || type === 'c') throw unacceptable(image, 'it made a device node');
        if (type === 'f') bytes += Number(size) / Math.max(1, Number(links));
        if (bytes > maxBytes) throw unacceptable(image, `its files are larger than ${maxBytes} bytes together`);
      }
    }
    const end = await find.ended;
    signal.throwIfAborted();
    if (end.code !== 0) throw unacceptable(image, `its tree cannot be read: ${end.stderr.trim().slice(0, 300)}`);
    return { entries, bytes: Math.round(bytes) };
  } finally {
    signal.removeEventListener('abort', onAbort);
    find.kill();
    await find.ended.catch(() => undefined);
  }
}

/** The name of what a tree is if it is no root file system at all, but an archive of container images. */
export async function archiveInTree(folder: string): Promise<string | undefined> {
  const names = new Set(await readdir(folder));
  if (names.has('oci-layout') && names.has('index.json')) return 'an OCI layout';
  return names.has('manifest.json') && ['bin', 'usr', 'etc', 'sbin', 'lib'].every((name) => !names.has(name)) ? 'a docker save archive' : undefined;
}
