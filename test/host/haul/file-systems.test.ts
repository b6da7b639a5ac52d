/** Live hauls between hosts whose `instances_path` lies on different file systems: the destination fetches the image, and the connection lives. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { criuProblem } from '../container/checkpoint-kit.js';
import { until } from '../container/harness.js';
import { fileSystemProblem, makeFileSystem } from '../lib/file-system.js';
import { makeHosts } from './hosts.js';
import { counted, haul } from './numbers.js';
import { authority, closeWorld, openWorld, place, type World } from './world.js';

const problem = await criuProblem();
const lacking = await Promise.all((['xfs', 'btrfs'] as const).map(async (type) => [type, problem ?? (await fileSystemProblem(type))] as const));
const test = anyTest as TestFn<Partial<World>>;

for (const [type, lack] of lacking) {
  if (lack !== undefined) process.stderr.write(`SKIPPED test/host/haul/file-systems from ${type}: ${lack}\n`);
  (lack === undefined ? test.serial : test.skip)(`from ${type} to another file system and back`, async (t) => {
    const fileSystem = await makeFileSystem(type, 3);
    const world = t.context as World;
    try {
      const instancesPath = join(fileSystem.path, 'instances');
      await mkdir(instancesPath);
      await openWorld(world, await makeHosts(authority, {}, { instancesPath }), ['a']);
      const { a, b, spec, client } = world;
      await a.guest(spec.id, 'sh', '-c', 'dd if=/dev/urandom of=/root/blob bs=1M count=8 2>/dev/null; rm /etc/group; chown 1000:1000 /etc/passwd');
      const look = 'sha256sum </root/blob; stat -c %u /etc/passwd; ls /etc/group 2>/dev/null; true';
      const before = await a.guest(spec.id, 'sh', '-c', look);
      for (const [from, to] of [[a, b], [b, a]] as const) {
        const count = await counted(from, spec.id);
        await haul(spec.id, from, to);
        t.is((await until('it runs on one side', () => place(world))).name, to.name);
        await client.more(50);
        await until('it counts on', async () => (await counted(to, spec.id)) >= count);
        t.is(await to.guest(spec.id, 'sh', '-c', look), before);
        await until('nothing is left at the source', async () => (await from.traces(spec)).length === 0);
      }
    } finally {
      await closeWorld(world);
      await fileSystem.close();
    }
  });
}
