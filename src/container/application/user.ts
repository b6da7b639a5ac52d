/** Who an application runs as: the user of its image's configuration, looked up in the image's own passwd and group (OCI image-spec, config.md). */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { resolveInside } from '../guest-tree.js';

/** See above. */
export interface GuestUser {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
  readonly home: string;
}

/** More than any real one. */
const maxBytes = 1024 * 1024;
const maxGroups = 64;
/** Highest id of a container's range. */
const maxId = 65_535;

const rows = (text: string): string[][] => text.split('\n').map((line) => line.split(':'));

function number(word: string | undefined): number | undefined {
  if (word === undefined || !/^\d{1,10}$/.test(word)) return undefined;
  return Number(word);
}

/**
 * @param wanted `user`, `uid`, `user:group`, `uid:gid` or a mixture; empty: root
 * @throws Error that says in plain words what is wrong
 */
export function lookUp(wanted: string, passwd: string, group: string): GuestUser {
  const [user = '', groupWord = ''] = wanted.split(':');
  const users = rows(passwd);
  const id = user === '' ? 0 : number(user);
  // a name of digits alone is a number, as runc and Docker have it
  const row = users.find((fields) => (id === undefined ? fields[0] === user : number(fields[2]) === id));
  const uid = id ?? number(row?.[2]);
  if (uid === undefined) throw new Error(`its user ${JSON.stringify(user)} is not in its /etc/passwd`);
  const groups = rows(group);
  const gid = groupWord === '' ? number(row?.[3]) ?? 0 : number(groupWord) ?? number(groups.find(([name]) => name === groupWord)?.[2]);
  if (gid === undefined) throw new Error(`its group ${JSON.stringify(groupWord)} is not in its /etc/group`);
  const name = row?.[0];
  const additional = groupWord === '' && name !== undefined ? groups.filter((fields) => (fields[3] ?? '').split(',').includes(name)).map((fields) => number(fields[2]) ?? -1) : [];
  const additionalGids = [...new Set(additional)].filter((one) => one >= 0 && one <= maxId && one !== gid).slice(0, maxGroups);
  if (uid > maxId || gid > maxId) throw new Error(`its user is ${uid}:${gid}; ids above ${maxId} do not fit into a container's range`);
  return { uid, gid, additionalGids, home: row?.[5]?.startsWith('/') ? row[5] : '/' };
}

/**
 * Looks a user up in the tree at `rootfs`; nothing of the guest may run.
 * @throws as `lookUp`
 */
export async function findUser(rootfs: string, wanted: string): Promise<GuestUser> {
  return lookUp(wanted, await textInside(rootfs, '/etc/passwd'), await textInside(rootfs, '/etc/group'));
}

/** The file's text; empty if there is none, or something else. */
async function textInside(rootfs: string, path: string): Promise<string> {
  const place = await resolveInside(rootfs, path);
  if (place === undefined) return '';
  const file = await open(place, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(() => undefined);
  if (!file) return '';
  try {
    const stat = await file.stat();
    if (!stat.isFile()) return '';
    const { buffer, bytesRead } = await file.read(Buffer.alloc(Math.min(stat.size, maxBytes)), 0, Math.min(stat.size, maxBytes), 0);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}
