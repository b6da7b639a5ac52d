/** Memory for the images of hauls is promised once: several that come at the same time do not all count on the same. */
import { mkdtemp, mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { run } from '../../../src/base/run.js';
import { availableBytes, mountInMemory, unmountMemory } from '../../../src/container/checkpoint/memory-folder.js';
import { log } from './harness.js';

test.serial('what one haul was promised another does not get, until it is given back or its folder is gone', async (t) => {
  const base = await mkdtemp('/run/haulier-memory-');
  const [one, two, three] = ['one', 'two', 'three'].map((name) => join(base, name)) as [string, string, string];
  for (const folder of [one, two, three]) await mkdir(folder);
  t.teardown(async () => {
    for (const folder of [one, two, three]) await unmountMemory(folder);
    await rm(base, { recursive: true });
  });
  const needs = 0.6 * availableBytes(await readFile('/proc/meminfo', 'utf8')); // not twice, whatever others do meanwhile
  const both = await Promise.all([one, two].map((folder) => mountInMemory(folder, needs, log)));
  t.deepEqual(both, [true, false]);
  t.false(await mountInMemory(three, needs, log));
  await unmountMemory(one);
  t.true(await mountInMemory(two, needs, log), 'given back');
  await run('umount', ['--', two]);
  t.true(await mountInMemory(three, needs, log), 'its folder went with its container');
});
