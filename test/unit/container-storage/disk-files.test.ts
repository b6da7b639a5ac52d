/** The file of a disk image: written whole, and opened as what it is after a jailed tool has had it. */
import test from 'ava';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../../src/base/run.js';
import { writeWhole } from '../../../src/container/image/disk/store.js';
import { locate } from '../../../src/container/image/disk/unpack.js';

test('a short write is gone on with, and its error is told', async (t) => {
  const out = Buffer.alloc(20);
  const short = { write: async (from: Buffer, at: number, length: number, position: number) => ({ bytesWritten: from.copy(out, position, at, at + Math.min(3, length)), buffer: from }) };
  await writeWhole(short as never, Buffer.from('0123456789'), 5);
  t.is(out.toString('latin1'), `\0\0\0\0\x000123456789\0\0\0\0\0`);
  let times = 0;
  const full = { write: async (from: Buffer) => { if (times++ > 0) throw Object.assign(new Error('full'), { code: 'ENOSPC' }); return { bytesWritten: 4, buffer: from }; } };
  await t.throwsAsync(writeWhole(full as never, Buffer.from('0123456789'), 0), { code: 'ENOSPC' });
});

test('a disk that is a link or a pipe is not opened', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'disk-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const image = join(folder, 'image');
  await writeFile(join(folder, 'secret'), Buffer.alloc(4096, 1));
  await symlink('secret', image);
  await t.throwsAsync(locate('i', folder), { code: 'IMAGE_UNACCEPTABLE', message: /cannot be opened/ });
  await rm(image);
  await run('mkfifo', [image]);
  await t.throwsAsync(locate('i', folder), { code: 'IMAGE_UNACCEPTABLE', message: /no plain file/ });
});
