/** Names of containers, and text that a guest or a user wrote on the operator's terminal. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { harmlessLine } from '../../../src/base/pretty.js';
import { columns, duration, findContainer, operationsOf, size } from '../../../src/cli/containers.js';
import { terminalText } from '../../../src/cli/logs.js';
import { topRows } from '../../../src/cli/top.js';
import type { ContainerStats } from '../../../src/container/spec.js';
import { InstanceStore } from '../../../src/container/state.js';

const ids = { web: 'aaaa1111-0000-4000-8000-000000000001', db: 'aaaa2222-0000-4000-8000-000000000002', damaged: 'bbbb0000-0000-4000-8000-000000000003' };

test('a container is found by id, name, or the beginning of its id', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'find-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const store = new InstanceStore(folder, folder);
  const limits = { vcpus: 1, cpuShares: undefined, cpuQuota: undefined, cpuPeriod: undefined, memoryMiB: 64, swapMiB: 0, pids: 64, rootGiB: 1 };
  for (const [name, id] of [['web', ids.web], ['db', ids.db]] as const) {
    await mkdir(join(folder, id));
    await store.writeSpec({ id, name: `instance-${name}`, hostname: `${name}-host`, imageId: 'i', limits, vifs: [], init: undefined, env: {}, labels: { display_name: name === 'web' ? 'aaaa2' : 'same' } });
  }
  await mkdir(join(folder, ids.damaged));
  await writeFile(store.paths(ids.damaged).spec, '{');
  const find = (word: string): Promise<string> => findContainer(store, word);
  t.is(await find(ids.db), ids.db);
  t.is(await find('instance-web'), ids.web);
  t.is(await find('db-host'), ids.db);
  t.is(await find('AAAA22'), ids.db);
  t.is(await find('aaaa2'), ids.web, 'a name goes before the beginning of an id');
  t.is(await find('bbbb'), ids.damaged, 'what is damaged can still be looked at');
  t.regex((await t.throwsAsync(find('aaaa'), { code: 'BAD_ARGUMENT' }))!.message, /means 2 containers: aaaa1111.*aaaa2222/);
  for (const word of ['', 'nobody', '../..', ids.web.replace('a', 'c')]) await t.throwsAsync(find(word), { code: 'INSTANCE_NOT_FOUND' }, word);
});

test('what others wrote cannot command the terminal', (t) => {
  t.is(harmlessLine('a\x1b]0;title\x07b\nc\x9bd'), 'a?]0;title?b?c?d');
  t.is(terminalText('\x1b[1;31mred\x1b[0m plain\x1b[2J\x1b[10;10H\x1b]0;title\x07\x1b[6n\x1bc\x07\ttab\r\n'), '\x1b[1;31mred\x1b[0m plain\ttab\n');
  t.is(terminalText('\x1bP+q\x1b\\x\x9b31m é'), 'x31m é');
});

test('a service that does not answer is not waited for', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'silent-'));
  const server = createServer(() => undefined).listen(join(folder, 'control.sock'));
  t.teardown(async () => { server.closeAllConnections(); server.close(); await rm(folder, { recursive: true }); });
  await once(server, 'listening');
  const told: string[] = [];
  t.deepEqual(await operationsOf(folder, (line) => told.push(line), 100), []);
  t.regex(told.join(), /has not answered within 0.1 s/);
  t.deepEqual(await operationsOf(join(folder, 'none'), (line) => told.push(line)), []);
  t.is(told.length, 1, 'a service that does not run is nothing to tell');
});

test('columns, times, sizes', (t) => {
  t.deepEqual(columns([['A', 'LONG'], ['value', '']]), ['A      LONG', 'value']);
  t.deepEqual([9, 423, 18_720, 270_000].map(duration), ['9s', '7m3s', '5h12m', '3d3h']);
  t.deepEqual([0, 1023, 1536, 200 * 1024 ** 2, 3 * 1024 ** 4].map(size), ['0B', '1023B', '1.5KiB', '200MiB', '3.0TiB']);
});

test('top: rates between two samples, the busiest first; who came or went between them is left out', (t) => {
  const stats = (cpuNs: number, rxBytes = 0): ContainerStats => ({ cpuNs, memoryBytes: 1024 ** 2, memoryLimitBytes: 64 * 1024 ** 2, pids: 3, uptimeSeconds: 1, disk: { readBytes: 0, writeBytes: 0, readOps: 0, writeOps: 0 },
    nics: [{ mac: '', rxBytes, txBytes: 0, rxPackets: 0, txPackets: 0, rxErrors: 0, txErrors: 0, rxDrops: 0, txDrops: 0 }] });
  const before = { at: 1000, stats: new Map([['a', stats(0)], ['b', stats(5e9)], ['gone', stats(0)]]) };
  const now = { at: 3000, stats: new Map([['a', stats(1e9, 4096)], ['b', stats(8e9)], ['new', stats(0)]]) };
  const rows = topRows(before, now, new Map([['a', 'web']]));
  t.deepEqual(rows.slice(1).map((row) => [row[0], row[2]]), [['b', '150.0'], ['a', '50.0']]);
  t.deepEqual(rows[2], ['a', 'web', '50.0', '1.0MiB/64.0MiB', '3', '0B/s', '0B/s', '2.0KiB/s', '0B/s']);
});
