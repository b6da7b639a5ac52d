import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { frozenCgroups } from '../../../src/container/checkpoint/cgroup-image.js';
import { groupAbove, isCriu, parentFrozen, requireOwnFreeze, thawParent } from '../../../src/container/checkpoint/criu-apart.js';
import { Message, writeMessage } from '../../../src/container/checkpoint/protobuf.js';
import { innerConnections } from '../../../src/container/verdict/sockets.js';

const property = (name: string, value: string): Buffer => writeMessage([1, name], [2, value]);
const inner = writeMessage([1, 'init.scope'], [3, property('memory.max', '1')], [4, writeMessage([1, 493], [2, 0], [3, 0])]);
const folder = (...properties: Buffer[]): Buffer => writeMessage([1, 'haulier/one'], [2, inner], ...properties.map((one) => [3, one] as const), [4, writeMessage([1, 493], [2, 0], [3, 0])]);
const controller = (name: string, ...properties: Buffer[]): Buffer => writeMessage([1, name], [2, folder(...properties)]);

test('of all properties of control groups the freezer\'s state is left, once', (t) => {
  const entry = writeMessage(
    [1, writeMessage([1, 2])],
    [2, controller('memory', property('memory.limit_in_bytes', '5'), property('tasks', ''))],
    [2, controller('freezer', property('notify_on_release', '0'), property('freezer.state', 'THAWED'), property('freezer.state', 'THAWED'))],
  );
  const once = frozenCgroups(entry);
  t.deepEqual(frozenCgroups(once), once, 'idempotent');
  const message = new Message(once);
  t.is(message.messages(1).length, 1, 'the sets stay');
  const found = message.messages(2).map((one) => {
    const own = one.message(2)!;
    return { name: one.text(1), folder: own.text(1), kept: own.has(4), own: own.messages(3).map((each) => `${each.text(1)}=${each.text(2)}`), inner: own.message(2)!.text(1), below: own.message(2)!.messages(3).length, rights: own.message(2)!.has(4) };
  });
  const same = { folder: 'haulier/one', kept: true, inner: 'init.scope', below: 0, rights: true };
  t.deepEqual(found, [{ name: 'memory', ...same, own: [] }, { name: 'freezer', ...same, own: ['freezer.state=FROZEN'] }]);
});

test('criu itself is told from its half-made processes by their PID namespace', (t) => {
  t.true(isCriu('Name:\tcriu\nUmask:\t0022\nNSpid:\t77\n'));
  t.false(isCriu('Name:\tcriu\nNSpid:\t78\t1\n'));
  t.false(isCriu('Name:\tsh\nNSpid:\t79\n'));
});

test('a restore ends frozen by the container\'s own group, and no other', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'haulier-freezer-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  const layout = { pureCgroup2: false, unified: undefined, v1: new Map([['freezer', root]]), swapLimits: false };
  mkdirSync(join(root, 'haulier/one'), { recursive: true });
  const set = (group: string, own: string, state: string): void => {
    writeFileSync(join(root, group, 'freezer.self_freezing'), `${own}\n`);
    writeFileSync(join(root, group, 'freezer.state'), `${state}\n`);
  };
  set('haulier', '0', 'THAWED');
  set('haulier/one', '1', 'FROZEN');
  t.is(groupAbove(layout, '/haulier/one'), join(root, 'haulier/cgroup.procs'));
  await t.notThrowsAsync(requireOwnFreeze(layout, '/haulier/one'));
  set('haulier/one', '0', 'THAWED');
  await t.throwsAsync(requireOwnFreeze(layout, '/haulier/one'), { code: 'RUNTIME_FAILED', message: /did not freeze it/ });
  set('haulier', '1', 'FROZEN');
  set('haulier/one', '0', 'FROZEN');
  t.true(await parentFrozen(layout, '/haulier/one'));
  await t.throwsAsync(requireOwnFreeze(layout, '/haulier/one'), { code: 'RUNTIME_FAILED', message: /above it/ });
  await thawParent(layout, '/haulier/one');
  t.is(readFileSync(join(root, 'haulier/freezer.state'), 'utf8'), 'THAWED');
});

const head = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';
const row = (local: string, remote: string, state: string): string => `   0: ${local} ${remote} ${state} 00000000:00000000 00:00000000 00000000     0        0 17 1 0 100 0 0 10 0\n`;

test('a connection to itself is one of which both ends are in the tables, also in different ones', (t) => {
  const listening = row('00000000:1F90', '00000000:0000', '0A');
  const outside = row('3200630A:1B58', '0100630A:C001', '01');
  const [one, other] = [row('0100007F:0050', '0100007F:A001', '01'), row('0100007F:A001', '0100007F:0050', '01')];
  t.false(innerConnections([head, '']));
  t.false(innerConnections([head + listening + outside, head]));
  t.true(innerConnections([head + listening + outside + one + other]));
  const mapped = row('0000000000000000FFFF00000100007F:0050', '0000000000000000FFFF00000100007F:A001', '01');
  t.true(innerConnections([head + other, head + mapped]));
});
