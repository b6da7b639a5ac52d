/** Texts of the kernel, conmon and the console; paths in a hostile tree. */
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { parseCgroupMounts } from '../../../src/container/cgroup.js';
import { consoleText, keepConsole, lastLines, readConsole } from '../../../src/container/console.js';
import { resolveInside, writeInside } from '../../../src/container/guest-tree.js';
import { hardOpenFiles } from '../../../src/container/parts.js';
import { unfitCriu } from '../../../src/container/checkpoint/facts.js';
import { atLeast } from '../../../src/container/version.js';
import { startTicksOf } from '../../../src/container/process.js';
import { parseAnswer } from '../../../src/container/runtime/conmon.js';
import { classifyExit } from '../../../src/container/runtime/exits.js';
import { shutdownWay } from '../../../src/container/shutdown.js';
import { noneInUse } from '../../../src/container/verdict/sockets.js';
import { nicStats, parseBlkio, parseIoStat } from '../../../src/container/stats.js';
import { InstanceStore } from '../../../src/container/state.js';
import { containerFaultPoints } from '../../../src/container/steps.js';
import { restingState } from '../../../src/container/view.js';

test('cgroup mounts: hybrid and pure v2', (t) => {
  const hybrid = parseCgroupMounts('cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\ncgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n');
  t.false(hybrid.pureCgroup2);
  t.is(hybrid.unified, '/sys/fs/cgroup/unified');
  t.deepEqual([...hybrid.v1], [['cpu', '/sys/fs/cgroup/cpu,cpuacct'], ['cpuacct', '/sys/fs/cgroup/cpu,cpuacct'], ['name=systemd', '/sys/fs/cgroup/systemd']]);
  t.true(parseCgroupMounts('cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n').pureCgroup2);
});

test('console lines', (t) => {
  const at = '2026-11-22T04:00:00.1+00:00 stdout';
  t.is(consoleText(`cut off\n${at} F one\r\n${at} P tw\n${at} F o\r\n${at} F \n${at} P login: \n`), 'one\ntwo\n\nlogin: ');
  t.is(lastLines('a\nb\nc\n', 2), 'b\nc\n');
  t.is(lastLines('a\nb', 1), 'b');
  t.is(lastLines('a\n', 0), '');
});

test('the console keeps the part before conmon began anew', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'console-'));
  const path = join(folder, 'console.log');
  const line = (text: string): string => `2026-11-22T04:00:00.1+00:00 stdout F ${text}\n`;
  await t.throwsAsync(readConsole(path, undefined), { code: 'CONSOLE_UNAVAILABLE' });
  await writeFile(path, line('old'));
  await keepConsole(path, 1000);
  await rm(path);
  await writeFile(path, line('new')); // what conmon does when the file is full
  await keepConsole(path, 1000);
  t.is(await readConsole(path, undefined), 'old\nnew\n');
  t.is(await readConsole(path, 1), 'new\n');
  await rm(folder, { recursive: true });
});

test('conmon\'s answer, exit codes, shutdown', (t) => {
  t.deepEqual(parseAnswer('{"data": 42}'), { pid: 42, message: undefined });
  t.deepEqual(parseAnswer('{"pid": -1, "message": "runc: no\\n"}'), { pid: -1, message: 'runc: no' });
  t.deepEqual(parseAnswer(''), { pid: undefined, message: undefined });
  t.deepEqual(classifyExit(129), { state: 'stopped', rebootRequested: true });
  t.deepEqual(classifyExit(130), { state: 'stopped', rebootRequested: false });
  t.deepEqual(classifyExit(137), { state: 'crashed', rebootRequested: false });
  t.is(restingState({ code: 137, at: '', wanted: true }), 'stopped');
  t.is(restingState({ code: 137, at: '', wanted: false }), 'crashed');
  t.deepEqual(shutdownWay('systemd'), { signal: 'SIGRTMIN+3' });
  t.deepEqual(shutdownWay('busybox'), { signal: 'SIGUSR2' });
  t.deepEqual(shutdownWay('whatever'), { signal: 'SIGTERM' });
});

test('kernel texts', (t) => {
  const counters = 'sockets: used 16\nTCP: inuse 0 orphan 0 tw 0 alloc 318 mem 169\nUDP: inuse 10 mem 0\n';
  t.true(noneInUse(counters, 'TCP'));
  t.false(noneInUse(counters, 'UDP'));
  t.false(noneInUse('', 'TCP'), 'where nothing is told, the table is read');
  t.is(startTicksOf(`7 (a) b) S ${Array.from({ length: 18 }, (_, index) => index).join(' ')} 987 0`), 987);
  t.is(startTicksOf('7 (x) Z 1 1'), undefined);
  t.is(hardOpenFiles('Max open files            1024                 20000                files \n'), 20_000);
  t.deepEqual(parseBlkio('8:0 Read 5\n8:0 Write 7\n8:16 Read 1\nTotal 13'), { read: 6, write: 7 });
  t.deepEqual(parseIoStat('8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0\n8:16 rbytes=10'), { readBytes: 11, writeBytes: 2, readOps: 3, writeOps: 4 });
  const nic = nicStats('  tap1: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n', { hostDevice: 'tap1', mac: 'm' });
  t.deepEqual(nic, { mac: 'm', txBytes: 1, txPackets: 2, txErrors: 3, txDrops: 4, rxBytes: 5, rxPackets: 6, rxErrors: 7, rxDrops: 8 });
  t.true(atLeast('runc version 1.3.6+ds1', '1.1') && atLeast('6.18', '5.19') && !atLeast('5.10.0', '5.19'));
});

test('a hostile tree is not followed', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'tree-'));
  await mkdir(join(root, 'usr/sbin'), { recursive: true });
  await symlink('usr/sbin', join(root, 'sbin'));
  await writeFile(join(root, 'usr/sbin/systemd'), '');
  await symlink('/sbin/systemd', join(root, 'usr/sbin/init'));
  t.is(await resolveInside(root, '/sbin/init'), join(root, 'usr/sbin/systemd'));
  t.is(await resolveInside(root, '/../../usr/sbin/systemd'), join(root, 'usr/sbin/systemd'));
  await symlink('loop', join(root, 'loop'));
  t.is(await resolveInside(root, '/loop'), undefined);
  const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  const outside = await mkdtemp(join(tmpdir(), 'outside-'));
  await symlink(outside, join(root, 'etc'));
  await t.throwsAsync(writeInside(root, ['etc'], 'hosts', 'x', owner));
  await rm(join(root, 'etc'));
  await mkdir(join(root, 'etc'));
  await writeFile(join(outside, 'victim'), 'untouched');
  await symlink(join(outside, 'victim'), join(root, 'etc/hosts'));
  await writeInside(root, ['etc'], 'hosts', 'new', owner);
  t.is(await readFile(join(outside, 'victim'), 'utf8'), 'untouched');
  t.is(await readFile(join(root, 'etc/hosts'), 'utf8'), 'new');
  await rm(root, { recursive: true });
  await rm(outside, { recursive: true });
});

test('instance directories: only uuids, damaged records are named', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'store-'));
  const store = new InstanceStore(folder, join(folder, 'run'));
  t.throws(() => store.paths('../etc'), { code: 'BAD_ARGUMENT' });
  const id = '11111111-1111-4111-8111-111111111111';
  await store.makeFolders(id);
  t.is(await store.readState(id), undefined);
  await writeFile(store.paths(id).state, '{"version":1}');
  await t.throwsAsync(store.readState(id), { code: 'STATE_DAMAGED' });
  await store.writeState(id, { version: 1, phase: 'ready', idBase: 5, wanted: 'stopped', startedAt: undefined, exit: undefined, guestFiles: false });
  await Promise.all([store.update(id, { wanted: 'running' }), store.update(id, { guestFiles: true })]);
  t.like(await store.readState(id), { wanted: 'running', guestFiles: true, idBase: 5 });
  t.deepEqual(await store.ids(), [id]);
  await rm(folder, { recursive: true });
});

test('fault points are named once', (t) => {
  t.is(new Set(containerFaultPoints).size, containerFaultPoints.length);
});

test('criu before 4.2 is of no use on kernels from 6.16, and on those only', (t) => {
  t.regex(unfitCriu('4.1.1', '6.18.44-fc') ?? '', /criu 4\.1\.1 is too old: on kernel 6\.18\.44-fc/);
  t.deepEqual([unfitCriu('4.1.1', '6.12.1-amd64'), unfitCriu('4.2', '6.16'), unfitCriu('4.2.1', '7.0')], [undefined, undefined, undefined]);
});
