/** The key pair of a server, in its administrator's `~/.ssh/authorized_keys`. */
import { makeFolderInside, writeInside } from '../guest-tree.js';
import { accountOf, fileInside, type GuestTree } from './guest-accounts.js';

/** `before` with the keys that it lacks; undefined if it has them all. */
export function withKeys(before: string, keys: readonly string[]): string | undefined {
  const there = new Set(before.split('\n').map((line) => line.trim()));
  const missing = keys.map((key) => key.trim()).filter((key) => key !== '' && !there.has(key));
  if (missing.length === 0) return undefined;
  return `${before}${before === '' || before.endsWith('\n') ? '' : '\n'}${missing.join('\n')}\n`;
}

/** Adds the keys to those that the image has. @throws Error if the account or its home is not there, or `.ssh` is no folder */
export async function addKeys(tree: GuestTree, name: string, keys: readonly string[]): Promise<void> {
  const { uid, gid, homeNames } = await accountOf(tree, name);
  const owner = { uid: tree.idBase + uid, gid: tree.idBase + gid };
  const folder = [...homeNames, '.ssh'];
  await makeFolderInside(tree.rootfs, folder, owner, 0o700);
  const text = withKeys((await fileInside(tree, [...folder, 'authorized_keys']))?.text ?? '', keys);
  if (text !== undefined) await writeInside(tree.rootfs, folder, 'authorized_keys', text, owner, 0o600);
}
