/** The init of applications, shared by the containers of a host. */
import test from 'ava';
import { chmod, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { initProgram, placeInit } from '../../../src/container/application/init.js';

test.serial('many first applications at once, and one after a crash that left the shared file empty', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'init-'));
  const before = process.env['PATH'];
  t.teardown(async () => { process.env['PATH'] = before; await rm(folder, { recursive: true }); });
  await writeFile(join(folder, initProgram), 'a program');
  await chmod(join(folder, initProgram), 0o755);
  process.env['PATH'] = folder;
  const own = (name: string): string => join(folder, 'instances', name, 'init');
  const names = Array.from({ length: 20 }, (_, n) => `c${n}`);
  await Promise.all(names.map((name) => placeInit(join(folder, 'instances'), own(name), false)));
  for (const name of names) t.is(await readFile(join(own(name), initProgram), 'utf8'), 'a program');
  const [shared, ...others] = await readdir(join(folder, 'instances/_init'));
  t.deepEqual(others, [], 'no temporary file stays');
  const path = join(folder, 'instances/_init', shared!);
  t.is((await stat(path)).mode & 0o777, 0o755);
  await rm(path);
  await writeFile(path, '');
  await placeInit(join(folder, 'instances'), own('late'), false);
  t.is(await readFile(join(own('late'), initProgram), 'utf8'), 'a program');
});
