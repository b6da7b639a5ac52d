/**
 * The password of an account of a guest. Its hash (SHA-512 of crypt(5), made by perl, which has libcrypt) goes into the tree, whether the
 * guest runs or not: not every image has chpasswd. The password itself is on no command line and in no log.
 */
import { randomBytes } from 'node:crypto';
import { HaulierError } from '../../base/errors.js';
import { run } from '../../base/run.js';
import { writeInside } from '../guest-tree.js';
import { fileInside, type GuestTree } from './guest-accounts.js';

const hashMs = 20_000;
const day = 86_400_000;

/** crypt(5)'s `$6$`. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(12).toString('base64').replaceAll('+', '.');
  const program = 'local $/; my ($salt, $password) = split /\\n/, <STDIN>, 2; print crypt($password, "\\$6\\$$salt\\$")';
  const { stdout } = await run('perl', ['-e', program], { input: `${salt}\n${password}`, timeoutMs: hashMs });
  if (!stdout.startsWith('$6$')) throw new HaulierError('COMMAND_FAILED', { command: 'perl', outcome: 'no hash', stderr: 'its crypt does not know SHA-512' });
  return stdout;
}

/** Puts a hash into the account's row of a `shadow` or `passwd` text; undefined if it has none. */
export function withHash(text: string, account: string, hash: string, today?: number): string | undefined {
  let found = false;
  const lines = text.split('\n').map((line) => {
    const fields = line.split(':');
    if (fields[0] !== account || fields.length < 3) return line;
    found = true;
    fields[1] = hash;
    if (today !== undefined) fields[2] = String(today);
    return fields.join(':');
  });
  return found ? lines.join('\n') : undefined;
}

/**
 * Sets it. A program of the guest that reads the file meanwhile sees it as it was, or as it is then.
 * @throws Error in plain words if there is no such account; ELOOP, ENOTDIR where the tree has another shape
 */
export async function setPassword(tree: GuestTree, account: string, password: string): Promise<void> {
  const hash = await hashPassword(password);
  for (const name of ['shadow', 'passwd']) { // images of busybox have no shadow
    const file = await fileInside(tree, ['etc', name]);
    const text = file && withHash(file.text, account, hash, name === 'shadow' ? Math.floor(Date.now() / day) : undefined);
    if (file && text !== undefined) return await writeInside(tree.rootfs, ['etc'], name, text, file, file.mode);
  }
  throw new Error(`there is no account ${account} in it`);
}
