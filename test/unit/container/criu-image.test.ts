/** criu's images are read, added to and changed as criu writes them. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { forgetLengths, hasFigures } from '../../../src/container/checkpoint/figure-image.js';
import { openPrograms } from '../../../src/container/checkpoint/exe-image.js';
import { addToImage, changeImage, readImage, readOptionalImage } from '../../../src/container/checkpoint/image-file.js';
import { Message, withNumber, writeMessage } from '../../../src/container/checkpoint/protobuf.js';

test('a number deep in a message is changed, all else stays', (t) => {
  const message = writeMessage([1, 300], [3, writeMessage([1, 7], [2, 0x20_0000], [6, '/sbin/x'], [10, 5], [10, 6])], [2, 9]);
  t.deepEqual(withNumber(message, [3, 2], 1), writeMessage([1, 300], [3, writeMessage([1, 7], [2, 1], [6, '/sbin/x'], [10, 5], [10, 6])], [2, 9]));
  t.deepEqual(withNumber(message, [4, 2], 1), message);
  t.throws(() => withNumber(message.subarray(0, -1), [3, 2], 1));
  t.deepEqual(new Message(message).message(3)?.numbers(10), [5, 6]);
});

test('images', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'criu-image-'));
  t.teardown(() => rm(folder, { recursive: true }));
  t.deepEqual(await readOptionalImage(folder, 'tty-info'), []);
  await addToImage(folder, 'tty-info', 0x5945_3036, writeMessage([1, 2]));
  await addToImage(folder, 'tty-info', 0x5945_3036, writeMessage([1, 3]));
  t.is((await readFile(join(folder, 'tty-info.img'))).toString('hex'), '19435654' + '36304559' + '02000000' + '0802' + '02000000' + '0803');
  await changeImage(folder, 'tty-info', (bytes) => withNumber(bytes, [1], 500));
  t.deepEqual((await readImage(folder, 'tty-info')).map((message) => message.number(1)), [500, 500]);
});

test('a program that was opened with O_PATH becomes one that can be given to a process; a descriptor stays', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'criu-image-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const file = (id: number, flags: number): Buffer => writeMessage([1, 1], [2, id], [3, writeMessage([1, id], [2, flags], [6, '/usr/lib/systemd/systemd-executor'])]);
  await addToImage(folder, 'files', 0x5630_3138, file(31, 0x20_0000), file(215, 0x20_8000), file(216, 0));
  for (const [pid, program] of [[1, 216], [131, 215]] as const) await addToImage(folder, `mm-${pid}`, 0x5749_2820, writeMessage([1, 4096], [12, program]));
  await openPrograms(folder);
  t.deepEqual((await readImage(folder, 'files')).map((entry) => [entry.number(2), entry.message(3)?.number(2)]), [[31, 0x20_0000], [215, 0x8000], [216, 0]]);
});

test('the lengths of open files of lxcfs are forgotten, and of no others; whether there are such files is seen in the mounts', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'criu-image-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const file = (id: number, name: string): Buffer => writeMessage([1, 1], [2, id], [3, writeMessage([1, id], [6, name], [7, 40], [8, 1235], [10, 0o444])]);
  t.false(await hasFigures(folder));
  await forgetLengths(folder);
  await addToImage(folder, 'files', 0x5630_3138, file(5, '/proc/stat'), file(6, '/etc/passwd'));
  await forgetLengths(folder);
  t.deepEqual((await readImage(folder, 'files')).map((entry) => [entry.message(3)?.has(8), entry.message(3)?.number(10)]), [[false, 0o444], [true, 0o444]]);
  await addToImage(folder, 'ids-1', 0x5432_0030, writeMessage([1, 1], [9, 7]));
  await addToImage(folder, 'mountpoints-7', 0x5563_3928, writeMessage([1, 1], [7, './proc']));
  t.false(await hasFigures(folder));
  await addToImage(folder, 'mountpoints-7', 0x5563_3928, writeMessage([1, 1], [7, './proc/meminfo']));
  t.true(await hasFigures(folder));
});
