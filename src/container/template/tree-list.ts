/** What is in a tree, path by path, and how each looks: enough to tell later what was changed. */
import { HaulierError } from '../../base/errors.js';
import { jailed } from '../image/jail.js';
import { startPiped } from '../image/piped-process.js';
import type { TarEntry } from '../image/tar-writer.js';

/** One path. */
export interface Listed {
  /** As find(1) has it: f, d, l, p, s, b, c. */
  readonly type: string;
  readonly attributes: Omit<TarEntry, 'name' | 'type' | 'xattrs'>;
  /** Equal if nothing was changed: any write, change of owner, mode, attributes or links moves the change time, which nobody can set back. */
  readonly look: string;
}

/** Paths are latin1 strings, one character a byte, without `./`; the root itself is ''. */
export type TreeList = ReadonlyMap<string, Listed>;

const fields = 8;

/** Lists the tree at `folder` (find, in the jail). @throws COMMAND_FAILED, the signal's reason */
export async function listTree(folder: string, signal: AbortSignal): Promise<TreeList> {
  signal.throwIfAborted();
  const find = startPiped(jailed(['find', '.', '-xdev', '-printf', '%y %m %U %G %T@ %C@ %s %n %P\\0'], { folder: { path: folder, writable: false }, capabilities: ['CAP_DAC_READ_SEARCH'] }));
  find.stdin.end();
  const onAbort = (): void => find.kill();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    const chunks: Buffer[] = [];
    for await (const chunk of find.stdout) chunks.push(chunk as Buffer);
    const end = await find.ended;
    signal.throwIfAborted();
    if (end.code !== 0) throw new HaulierError('COMMAND_FAILED', { command: 'find', outcome: `exit code ${end.code}`, stderr: end.stderr.trim().slice(0, 500) });
    return new Map(Buffer.concat(chunks).toString('latin1').split('\0').filter(Boolean).map(listed));
  } finally {
    signal.removeEventListener('abort', onAbort);
    find.kill();
    await find.ended.catch(() => undefined);
  }
}

function listed(line: string): readonly [string, Listed] {
  const values = line.split(' ', fields);
  const path = line.slice(values.reduce((sum, value) => sum + value.length + 1, 0));
  const [type = '', mode = '', uid = '', gid = '', mtime = '', ctime = '', size = ''] = values;
  // a folder's size and link count are its file system's business
  return [path, { type, attributes: { mode: parseInt(mode, 8), uid: Number(uid), gid: Number(gid), mtime }, look: [type, mode, uid, gid, mtime, ctime, ...(type === 'd' ? [] : [size])].join(' ') }];
}
