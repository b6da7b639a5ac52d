/** Live migration over two fake hosts: where the server is, its ports, who holds which allocation, after success and after every failure. */
import test from 'ava';
import { setTimeout as sleep } from 'node:timers/promises';
import { HaulierError } from '../../../src/base/errors.js';
import type { Verdict } from '../../../src/container/verdict/verdict.js';
import type { RemoteFailure } from '../../../src/messaging/types.js';
import { syncPowerState } from '../../../src/compute/power-sync.js';
import { all, broken, LiveHosts, moved, stayed } from './live-hosts.js';
import { other } from './two-hosts.js';
import { host, uuid } from './world.js';

test('there and back', async (t) => {
  const live = await LiveHosts.begin();
  await live.migrate();
  t.deepEqual([live.failures, all(live)], [[], moved]);
  t.like(live.it.row, { node: other, compute_id: 8, power_state: 1, progress: 0, launched_on: host });
  t.deepEqual(live.w.nova.events.map((event) => [event.name.slice('compute_'.length), event.error]), [
    ['check_can_live_migrate_destination', null], ['check_can_live_migrate_source', null], ['live_migration', null], ['pre_live_migration', null], ['post_live_migration_at_destination', null],
  ]);
  const [came] = live.hauls(other).came;
  t.deepEqual(came?.vifs.map((vif) => vif.plug.bridge), ['br-there'], 'plugged as the destination\'s binding says');
  t.like(live.it.migration, { memory_total: 100 << 20, memory_processed: 100 << 20, memory_remaining: 0, disk_total: 20 << 20, disk_remaining: 0 });
  t.is(live.at(host).compute.live.cancel(uuid, broken()), undefined, 'nothing is left in the queue');
  await live.migrate();
  t.deepEqual([live.failures, live.seen, live.places, live.ports, live.held], [[], ['active', null, host, 'completed'], ['running 1', '- 0'], [[host, [], {}]], { server: [host] }]);
  for (const { containers } of live.net.hosts.values()) t.deepEqual(containers.clashes, []);
});

test('the token is in one answer, from host to host, and nowhere else', async (t) => {
  const live = await LiveHosts.begin();
  await live.migrate();
  t.false(JSON.stringify([live.sent, [...live.w.nova.instances.values()], live.w.nova.migrations]).includes('token'));
});

test('the ports switch while the memory travels, and are made known to the agent before they are plugged', async (t) => {
  const live = await LiveHosts.begin();
  await live.migrate();
  const steps = live.w.steps.of('neutron.bind', 'containers.plug', `neutron.activate ${other}`, 'haul.dump', 'haul.committed');
  t.is(steps.indexOf('neutron.bind') < steps.indexOf('containers.plug'), true);
  t.is(steps.indexOf(`neutron.activate ${other}`) < steps.indexOf('haul.committed'), true);
});

test('a neutron without second bindings: the port is bound when the server has come', async (t) => {
  const live = await LiveHosts.begin();
  live.w.neutron.aliases.delete('binding-extended');
  await live.migrate();
  t.deepEqual([live.failures, live.seen, live.places], [[], moved.seen, moved.places]);
  t.deepEqual((live.ports as unknown[][])[0]?.[0], other);
});

const refusals: [string, RegExp, (live: LiveHosts) => void][] = [
  ['a destination without certificates', /fake1 cannot take part: .*haul_ca/, (live) => { live.hauls(other).off = true; }],
  ['a source without certificates', /fake2 cannot take part: .*haul_ca/, (live) => { live.hauls(host).off = true; }],
  ['a destination of another protocol', /fake1 speaks version 2\.0 of the haul protocol, fake2 1\.0/, (live) => { live.hauls(other).protocol = '2.0'; }],
  ['a destination whose CPU lacks something', /it could not go on at fake1: this CPU lacks avx2/, (live) => { live.hauls(other).misfit = 'this CPU lacks avx2'; }],
  ['a source of another kind', /of type QEMU/, (live) => { live.w.nova.nodes.find((node) => node['host'] === host)!['hypervisor_type'] = 'QEMU'; }],
  ['a server that ended', /is crashed on fake2, neither running nor paused/, (live) => { live.w.containers.made.get(uuid)!.state = 'crashed'; }],
  ['a quiesced server', /is quiesced/, (live) => { live.w.containers.quiesced.push(`frozen ${uuid}`); }],
  ['a server that criu cannot save', /cannot be frozen: uses io_uring/, (live) => { live.w.containers.verdict = async () => ({ freezable: false, findings: [{ code: 'io-uring', effect: 'blocks', passing: false, text: 'uses io_uring' }] }); }],
  ['hosts that share their instances_path', /share their instances_path/, (live) => { live.at(other).containers.moves.foreignMarks = live.w.containers.moves.marks; }],
  ['a destination that has something of it', /is on fake1 already/, (live) => { live.at(other).containers.put(uuid, 'stopped'); }],
];
for (const [what, reason, spoil] of refusals) {
  test(`refused with a reason: ${what}`, async (t) => {
    const live = await LiveHosts.begin();
    spoil(live);
    const state = live.w.containers.made.get(uuid)?.state;
    const error = await t.throwsAsync(live.check(), { message: reason });
    const { failure, nova } = error as unknown as { failure?: { class: string }; nova?: { class: string } };
    t.is(failure?.class ?? nova?.class, 'MigrationPreCheckError');
    t.is(live.w.containers.made.get(uuid)?.state, state);
    t.is(live.w.steps.count('containers.plug'), 0);
  });
}

const refusedByCriu = async (): Promise<Verdict> => ({ freezable: false, findings: [{ code: 'io-uring', effect: 'blocks', passing: false, text: 'uses io_uring' }] });

test('a server that criu refuses is restarted at the destination where that is permitted, and an event says so', async (t) => {
  const live = await LiveHosts.begin({ haulPermitRestart: true, shutdownTimeout: 30 });
  live.w.containers.verdict = refusedByCriu;
  live.hauls(host).mode = 'restart';
  live.w.steps.fail('haul.dump', broken());
  const events = (): unknown[] => live.w.nova.events.filter(({ name }) => /^compute_live_migration/.test(name)).map(({ name, error }) => [name, error === null]);
  await live.migrate();
  t.deepEqual(all(live), stayed('failed'));
  t.deepEqual(events(), [['compute_live_migration', false], ['compute_live_migration_by_restart', false]]);
  live.w.nova.events.length = live.failures.length = 0;
  await live.migrate();
  t.deepEqual([live.failures, all(live)], [[], moved]);
  t.deepEqual(events(), [['compute_live_migration', true], ['compute_live_migration_by_restart', true]]);
  t.deepEqual(live.hauls(host).restarts, [{ timeoutMs: 30_000, retryMs: 10_000 }, { timeoutMs: 30_000, retryMs: 10_000 }]);
});

test('a paused server that criu refuses cannot be restarted', async (t) => {
  const live = await LiveHosts.begin({ haulPermitRestart: true });
  live.w.containers.verdict = refusedByCriu;
  live.w.containers.made.get(uuid)!.state = 'paused';
  await t.throwsAsync(live.check(), { message: /cannot be frozen: uses io_uring \(and it is paused/ });
});

test('block migration: false has no shared storage; without over-commit the disk must fit', async (t) => {
  const live = await LiveHosts.begin();
  const wrong = await t.throwsAsync(live.check({ block: false }), { message: /is not on shared storage/ });
  t.is((wrong as RemoteFailure).className, 'InvalidSharedStorage');
  t.is((await live.check({ block: true })).flag('block_migration'), true);
  const marks = live.at(other).containers.moves.foreignMarks;
  live.at(other).containers.moves.foreignMarks = live.w.containers.moves.marks;
  const local = await t.throwsAsync(live.check({ block: true }), { message: /is not on local storage: Block migration can not be used with shared storage/ });
  t.is((local as RemoteFailure).className, 'InvalidLocalStorage');
  live.at(other).containers.moves.foreignMarks = marks;
  live.at(other).containers.host = { ...live.at(other).containers.host, diskFreeGiB: 0.5 };
  await t.throwsAsync(live.check({ commit: false }), { message: /Disk of instance is too large \(available on destination host: 512 MiB < need: 1024 MiB\)/ });
  await t.notThrowsAsync(live.check({ commit: true }));
});

for (const step of ['neutron.bind', 'containers.plug', 'haul.copy', 'haul.dump', 'haul.offered']) {
  test(`a failure at ${step}: the server goes on at its source, and nothing is left`, async (t) => {
    const live = await LiveHosts.begin();
    live.w.steps.fail(step, broken());
    await live.migrate();
    t.deepEqual(all(live), stayed('failed'));
    t.regex(String(live.w.nova.faults.at(-1)?.['message']), /broken/);
    t.is(live.w.nova.events.find((event) => event.name === 'compute_live_migration')?.error !== null, true);
    t.is(live.hauls(other).expected(uuid), undefined);
    t.true(live.w.steps.seen.includes(`containers.replug ${uuid}`), 'neutron\'s agent may have taken the port away');
    await live.migrate();
    t.deepEqual(all(live), moved, 'afterwards it works');
  });
}

for (const step of ['deleteBinding fake1', 'placement.moveAllocations', 'cast rollback_live_migration_at_destination']) {
  test(`a rollback in which ${step} fails goes on`, async (t) => {
    const live = await LiveHosts.begin();
    live.w.steps.fail('haul.dump', broken());
    live.w.steps.fail(step.startsWith('deleteBinding') ? `neutron.${step}` : step, broken());
    await live.migrate();
    t.deepEqual([live.seen, (live.places as string[])[0]], [['active', null, host, 'failed'], 'running 1']);
    t.deepEqual((live.ports as unknown[][])[0]?.[0], host);
  });
}

test('a haul that ended with an error after the destination had it is completed, not taken back', async (t) => {
  const live = await LiveHosts.begin();
  live.w.steps.fail('haul.gone', broken());
  await live.migrate();
  t.deepEqual(all(live), moved);
});

test('a destination that does not answer at the end is asked again until it does', async (t) => {
  const live = await LiveHosts.begin();
  live.w.steps.fail('Instance.save -/null', broken());
  await live.migrate();
  t.deepEqual(all(live), moved);
});

test('abort while it waits, and while it runs; an abort that comes too late says so', async (t) => {
  const live = await LiveHosts.begin();
  const { live: queue } = live.at(host).compute;
  const blocker = queue.enter('another');
  await blocker.turn();
  const waiting = live.cast(await live.check());
  await sleep(5);
  t.is(live.it.migration['status'], 'queued');
  const abort = (): Promise<unknown> => live.at(host).send('live_migration_abort', { instance: live.w.instance(), migration_id: live.it.migration['id'] });
  await abort();
  await waiting;
  t.deepEqual(all(live), stayed('cancelled'));
  t.is(live.w.steps.count('containers.plug'), 0);
  blocker.end();

  const held = live.w.steps.block('haul.copy');
  const running = live.migrate();
  await held.reached;
  t.is(live.it.migration['status'], 'running');
  await abort();
  await running;
  t.deepEqual([all(live), live.failures], [stayed('cancelled'), []]);

  const next = live.w.steps.block('haul.copy');
  const another = live.migrate();
  await next.reached;
  const before = live.w.nova.migrations.at(-2);
  const stale = await t.throwsAsync(live.at(host).send('live_migration_abort', { instance: live.w.instance(), migration_id: before?.['id'] }));
  t.is((stale as unknown as HaulierError).nova.class, 'InvalidMigrationState');
  t.is(live.it.migration['status'], 'running', 'the abort was of the one before');
  next.release();
  await another;
  t.deepEqual(all(live), moved);
  await live.migrate(); // back
  live.w.steps.clear();

  const late = live.w.steps.block('haul.committed');
  const completing = live.migrate();
  await late.reached;
  const refused = t.throwsAsync(abort());
  late.release();
  t.regex((await refused).message, /is completed\. Cannot abort live migration/);
  await completing;
  t.deepEqual(all(live), moved);
  t.is(((await t.throwsAsync(abort())) as unknown as HaulierError).nova.class, 'InvalidMigrationState');
});

test('force complete reaches the haul; without one it is refused', async (t) => {
  const live = await LiveHosts.begin();
  const force = (): Promise<unknown> => live.at(host).send('live_migration_force_complete', { instance: live.w.instance() });
  await t.throwsAsync(force(), { code: 'LIVE_MIGRATION_STATE' });
  const held = live.w.steps.block('haul.copy');
  const running = live.migrate();
  await held.reached;
  await force();
  t.deepEqual(live.hauls(host).forced, [uuid]);
  held.release();
  await running;
  t.deepEqual(all(live), moved);
});

test('the completion time-out gives it up, or hurries it', async (t) => {
  for (const action of ['abort', 'force_complete'] as const) {
    const live = await LiveHosts.begin({ liveMigrationCompletionTimeout: 0.25, liveMigrationTimeoutAction: action }); // of 2 + 2 GiB
    const held = live.w.steps.block('haul.copy');
    const running = live.migrate();
    await held.reached;
    while (action === 'abort' ? live.it.row['task_state'] !== null : live.hauls(host).forced.length === 0) await sleep(20);
    held.release();
    await running;
    t.deepEqual(all(live), action === 'abort' ? stayed('cancelled') : moved);
  }
});

test('figures and progress are saved while it runs', async (t) => {
  const live = await LiveHosts.begin();
  const held = live.w.steps.block('haul.copy');
  const running = live.migrate();
  await held.reached;
  while (live.it.row['progress'] !== 80) await sleep(20);
  t.like(live.it.migration, { memory_total: 100 << 20, memory_processed: 80 << 20, memory_remaining: 20 << 20, disk_total: 20 << 20, disk_processed: 5 << 20, disk_remaining: 15 << 20 });
  held.release();
  await running;
  t.is(live.it.row['progress'], 0);
});

test('hybrid ports: the source waits for neutron, unless the destination does not want it', async (t) => {
  for (const wait of [true, false]) {
    const live = await LiveHosts.begin({ liveMigrationWaitForVifPlug: wait });
    const vifs = live.w.cache().map((vif) => ({ ...vif, details: { ...vif.details, ovs_hybrid_plug: true } }));
    live.w.nova.caches.set(uuid, JSON.stringify(vifs));
    const running = live.migrate();
    if (wait) {
      while (!live.w.steps.seen.includes('containers.plug')) await sleep(5);
      await sleep(20);
      t.is(live.it.migration['status'], 'preparing');
      for (const vif of vifs) live.at(host).compute.events.deliver(uuid, 'network-vif-plugged', vif.id, 'completed');
    }
    await running;
    t.deepEqual([live.failures, live.seen], [[], moved.seen]);
  }
});

test('a server that is on its way is not reported as stopped, and not stopped', async (t) => {
  const live = await LiveHosts.begin();
  const held = live.w.steps.block('haul.committed');
  const running = live.migrate();
  await held.reached;
  const synced = syncPowerState(live.at(host).compute, uuid);
  await syncPowerState(live.at(other).compute, uuid);
  held.release();
  await Promise.all([synced, running]);
  t.deepEqual([all(live), live.w.nova.actions], [moved, []]);
});

test('a delete ends it: nothing of the server is left anywhere', async (t) => {
  for (const step of ['haul.copy', 'haul.committed']) {
    const live = await LiveHosts.begin();
    const held = live.w.steps.block(step);
    const running = live.migrate();
    await held.reached;
    live.it.row['task_state'] = 'deleting';
    const deleted = live.at(host).send('terminate_instance', { instance: live.w.instance(), bdms: null });
    held.release();
    await Promise.all([running, deleted]);
    await live.it.settled();
    t.deepEqual([live.it.row['deleted'], live.places], [true, ['- 0', '- 0']], step);
    t.deepEqual([...live.w.placement.allocations.keys()].filter((consumer) => consumer === uuid), []);
  }
});

test('a message that comes late, of a migration that is over, does nothing', async (t) => {
  const live = await LiveHosts.begin();
  const data = await live.check();
  live.it.row['task_state'] = null; // a restart of the service has given it up
  await t.throwsAsync(live.cast(data), { code: 'INSTANCE_STATE' });
  t.deepEqual([live.seen, live.places], [['active', null, host, 'failed'], ['running 1', '- 0']]);
  await live.migrate();
  const rollback = { instance: live.w.instance(), destroy_disks: true, migrate_data: data.toPrimitive() as unknown as Record<string, unknown> };
  await live.at(other).send('rollback_live_migration_at_destination', rollback);
  t.deepEqual(all(live), moved);
});

test('a stop of the service cancels what waits', async (t) => {
  const live = await LiveHosts.begin();
  const { live: queue } = live.at(host).compute;
  const blocker = queue.enter('another');
  await blocker.turn();
  const waiting = t.throwsAsync(live.cast(await live.check()), { code: 'CANCELLED' });
  await sleep(5);
  queue.close(new HaulierError('CANCELLED', { what: 'it', reason: 'the service stops', by: 'stop' }));
  await waiting;
  t.deepEqual(all(live), stayed('cancelled'));
});
