/**
 * Headers of a tar archive without file contents (POSIX.1-2001 pax): whiteouts as OCI layers have them, and as overlayfs does. Names
 * are given as latin1 strings, one character a byte, since a file's name is bytes.
 */

/** One entry. */
export interface TarEntry {
  /** Without a slash at the front. */
  readonly name: string;
  /** `whiteout`: overlayfs's, a character device 0/0. */
  readonly type: 'empty file' | 'directory' | 'whiteout';
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970, with fractions. */
  readonly mtime: string;
  readonly xattrs?: Readonly<Record<string, string>>;
}

const blockBytes = 512;
const nameBytes = 100;
const typeFlags = { 'empty file': '0', directory: '5', whiteout: '3', pax: 'x' } as const;

/** Two zero blocks end an archive. */
export const tarEnd = Buffer.alloc(2 * blockBytes);

/** One pax record, `LENGTH KEY=VALUE\n`; the length counts itself. */
function record(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (`${length}${rest}`.length !== length) length++;
  return `${length}${rest}`;
}

function block(entry: Omit<TarEntry, 'type' | 'xattrs'> & { readonly type: keyof typeof typeFlags; readonly size: number }): Buffer {
  const header = Buffer.alloc(blockBytes);
  const octal = (value: number, at: number, width: number): void => void header.write(`${value.toString(8).padStart(width - 1, '0')}\0`, at, 'latin1');
  header.write(entry.name.slice(0, nameBytes), 0, 'latin1');
  octal(entry.mode & 0o7777, 100, 8);
  octal(entry.uid, 108, 8);
  octal(entry.gid, 116, 8);
  octal(entry.size, 124, 12);
  octal(Math.max(0, Math.floor(Number(entry.mtime))), 136, 12);
  header.write('        ', 148, 'latin1');
  header.write(typeFlags[entry.type], 156, 'latin1');
  header.write('ustar\x0000', 257, 'latin1');
  if (entry.type === 'whiteout') {
    octal(0, 329, 8);
    octal(0, 337, 8);
  }
  header.write(`${header.reduce((sum, byte) => sum + byte, 0).toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}

/** The header of one entry, with what does not fit into it in a pax header before. */
export function tarHeader(entry: TarEntry): Buffer {
  const records = [
    ...(entry.name.length > nameBytes ? [record('path', entry.name)] : []),
    ...(entry.mtime.includes('.') ? [record('mtime', entry.mtime)] : []),
    ...Object.entries(entry.xattrs ?? {}).map(([name, value]) => record(`SCHILY.xattr.${name}`, value)),
  ].join('');
  const own = block({ ...entry, size: 0 });
  if (records === '') return own;
  const content = Buffer.from(records, 'latin1');
  const padding = Buffer.alloc((blockBytes - (content.length % blockBytes)) % blockBytes);
  return Buffer.concat([block({ ...entry, name: 'PaxHeader', type: 'pax', mode: 0o644, size: content.length }), content, padding, own]);
}
