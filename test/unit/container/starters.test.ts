import test from 'ava';
import { conmonArguments } from '../../../src/container/runtime/conmon.js';
import { isMonitor, isRuntime, type Started } from '../../../src/container/runtime/starters.js';

const id = '11111111-1111-4111-8111-111111111111';
const where = { exitFolder: '/run/haulier/exits', runc: { command: '/usr/sbin/runc', root: '/run/haulier/runc' }, options: { conmon: '/usr/bin/conmon' } };
const monitorOf = (cid: string, runPath = '/run/haulier'): string[] => ['/usr/bin/conmon', ...conmonArguments({ command: '/usr/sbin/runc', root: `${runPath}/runc` }, {
  id: cid, name: 'n', bundle: '/b', console: '/c', consoleBytes: 1, exitFolder: `${runPath}/exits`, runFolder: '/r', pidFile: '/p', conmonPidFile: '/q', conmonLog: '/l',
})];
const monitor = (started: Started, script = false): boolean => isMonitor(started, where, id, { path: '/usr/bin/conmon', script });
const runtime = (started: Started): boolean => isRuntime(started, where, id, { path: '/usr/sbin/runc', script: false });
const runc = (...args: string[]): Started => ({ executable: '/usr/sbin/runc', args: ['/usr/sbin/runc', ...args] });

test('a monitor is known by its program, the container and the folder of this host; a script in its place too', (t) => {
  t.true(monitor({ executable: '/usr/bin/conmon', args: monitorOf(id) }));
  t.true(monitor({ executable: '/usr/bin/bash', args: ['/bin/bash', ...monitorOf(id)] }, true));
  t.false(monitor({ executable: '/usr/bin/conmon', args: monitorOf('22222222-2222-4222-8222-222222222222') }));
  t.false(monitor({ executable: '/usr/bin/conmon', args: monitorOf(id, '/run/another') }));
  t.false(monitor({ executable: '/usr/bin/grep', args: ['grep', '-r', ...monitorOf(id)] }));
});

test('a runtime is known by its program, its root and what it does to the container', (t) => {
  const root = ['--root', '/run/haulier/runc'];
  for (const args of [['create', '--bundle', '/b', id], ['restore', '--image-path', '/i', id], ['checkpoint', id], ['delete', '--force', id]]) t.true(runtime(runc(...root, ...args)), args.join(' '));
  t.false(runtime(runc('--root', '/run/another', 'create', id)));
  t.false(runtime(runc(...root, 'create', 'other')));
  t.false(runtime({ executable: '/usr/bin/watch', args: ['watch', ...runc(...root, 'kill', id).args] }));
});

test('what an administrator does with the container is his', (t) => {
  const root = ['--root', '/run/haulier/runc'];
  for (const args of [['exec', id, 'sh'], ['exec', '--tty', id, 'echo', id], ['events', id], ['ps', id]]) t.false(runtime(runc(...root, ...args)), args.join(' '));
  for (const args of [['vim', id], ['tail', '-f', id], ['node', '/usr/bin/haulier', 'exec', id, 'sh'], ['sh', '-c', 'runc kill', id], ['conmon', '--cid', id]]) {
    const started = { executable: `/usr/bin/${args[0]}`, args };
    t.false(monitor(started) || runtime(started), args.join(' '));
  }
});
