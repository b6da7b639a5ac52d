/**
 * The deployment's keys for snapshots with memory: a file of one key a line, 32 random bytes in hex or base64; `#` begins a comment.
 * The first one seals, all of them open: a new key is put in front, and an old one stays for as long as its images are to boot.
 */
import { createSecretKey, hkdfSync, randomBytes, type KeyObject } from 'node:crypto';
import { open } from 'node:fs/promises';
import { writeAtomic } from '../../base/atomic.js';
import { HaulierError, messageOf } from '../../base/errors.js';

/** Bytes of a key. */
export const keyBytes = 32;
/** Bytes of a key's id. */
export const keyIdBytes = 8;

/** One key. */
export interface SnapshotKey {
  /** Tells keys apart, and nothing of them. */
  readonly id: Buffer;
  readonly secret: KeyObject;
}

/** All keys of the file, the one that seals first. */
export type KeyRing = readonly [SnapshotKey, ...SnapshotKey[]];

const refuse = (reason: string, cause?: unknown): HaulierError => new HaulierError('SNAPSHOT_KEY', { reason }, { cause });

/** Makes a key of its bytes. */
export function snapshotKey(bytes: Buffer): SnapshotKey {
  return { id: Buffer.from(hkdfSync('sha256', bytes, '', 'haulier snapshot key id', keyIdBytes)), secret: createSecretKey(bytes) };
}

/** Reads the text of a key file. @throws SNAPSHOT_KEY naming the line, never what is in it */
export function parseKeys(text: string, path: string): KeyRing {
  const keys = text.split('\n').flatMap((line, index) => {
    const word = line.replace(/#.*/, '').trim();
    if (word === '') return [];
    const bytes = /^[0-9a-f]{64}$/i.test(word) ? Buffer.from(word, 'hex') : /^[A-Za-z0-9+/]{43}=$/.test(word) ? Buffer.from(word, 'base64') : undefined;
    if (bytes?.length !== keyBytes) throw refuse(`line ${index + 1} of ${path} is not ${keyBytes} bytes in hex or base64`);
    return [snapshotKey(bytes)];
  });
  const [first, ...others] = keys;
  if (!first) throw refuse(`there is no key in ${path}`);
  return [first, ...others];
}

/**
 * Reads the keys anew: a rotation needs no restart.
 * @param path undefined: the option is not set
 * @throws SNAPSHOT_KEY also for a file that others than its owner can read or write, or that is another user's
 */
export async function readKeyRing(path: string | undefined): Promise<KeyRing> {
  if (path === undefined) throw refuse('it is not set');
  const text = await readText(path).catch((error: unknown) => {
    throw error instanceof HaulierError ? error : refuse(`${path} cannot be read: ${messageOf(error)}`, error);
  });
  return parseKeys(text, path);
}

/** The file's text, if it is root's (or this user's) alone. */
async function readText(path: string): Promise<string> {
  const file = await open(path, 'r');
  try {
    const { mode, uid } = await file.stat();
    if ((mode & 0o077) !== 0) throw refuse(`${path} has mode ${(mode & 0o777).toString(8)}: others than its owner must have no access (chmod 600)`);
    if (uid !== 0 && uid !== process.geteuid?.()) throw refuse(`${path} belongs to uid ${uid}, not to root`);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

/** Puts a new key in front of those in the file, which is made if it is not there. @returns how many keys it has now */
export async function addKey(path: string): Promise<number> {
  const before = await readText(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  const text = `${randomBytes(keyBytes).toString('hex')}\n${before}`;
  const keys = parseKeys(text, path);
  await writeAtomic(path, text);
  return keys.length;
}
