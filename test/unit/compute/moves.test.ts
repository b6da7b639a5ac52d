/** Resize and cold migration over two fake hosts: where the server is, what of it lies where, who holds which allocation, after success and after every failure. */
import test from 'ava';
import { HaulierError } from '../../../src/base/errors.js';
import { confirmOldResizes } from '../../../src/compute/moves/auto-confirm.js';
import { reapKept } from '../../../src/compute/moves/recover.js';
import { context, host, nodeUuid, uuid } from './world.js';
import { migrationUuid, other, otherNode, TwoHosts } from './two-hosts.js';

const broken = (): Error => new HaulierError('DISK_FULL', { path: '/x', reason: 'full' });
/** [vm_state, task_state, host, vcpus, migration] of a server whose move failed and who is as before. */
const asBefore = ['active', null, host, 1, 'error'];

for (const to of [host, other]) {
  const where = to === host ? 'the same host' : 'another host';

  test(`resize to ${where}, confirmed`, async (t) => {
    const it = await TwoHosts.begin();
    await it.resize(to);
    t.deepEqual(it.failures, []);
    t.deepEqual(it.seen, ['resized', null, to, 2, 'finished']);
    t.deepEqual(it.disks, to === host ? { [host]: ['running 2', 'kept'], [other]: [] } : { [host]: ['kept'], [other]: ['running 2'] });
    t.deepEqual(it.bound, [to]);
    t.deepEqual([...it.w.placement.allocations.keys()].sort(), [migrationUuid, uuid].sort());
    t.is((it.row['system_metadata'] as Record<string, string>)['old_vm_state'], 'active');
    await it.confirm();
    t.deepEqual(it.seen, ['active', null, to, 2, 'confirmed']);
    t.deepEqual(it.disks, { [host]: to === host ? ['running 2'] : [], [other]: to === host ? [] : ['running 2'] });
    t.deepEqual([...it.w.placement.allocations], [[uuid, { [to === host ? nodeUuid : otherNode]: { VCPU: 2 } }]]);
    t.deepEqual([it.row['old_flavor'], it.row['new_flavor'], it.row['migration_context']], [null, null, null]);
    t.false('old_vm_state' in (it.row['system_metadata'] as object));
    t.true(it.w.nova.events.every((event) => event.done && event.error === null));
    t.deepEqual(it.w.nova.events.map((event) => event.name), ['compute_prep_resize', 'compute_resize_instance', 'compute_finish_resize', 'compute_confirm_resize']);
  });

  test(`resize to ${where}, reverted`, async (t) => {
    const it = await TwoHosts.begin();
    await it.resize(to);
    await it.revert();
    t.deepEqual(it.failures, []);
    t.deepEqual(it.seen, ['active', null, host, 1, 'reverted']);
    t.deepEqual(it.disks, { [host]: ['running 1'], [other]: [] });
    t.deepEqual(it.bound, [host]);
    t.deepEqual([...it.w.placement.allocations], [[uuid, { [nodeUuid]: { VCPU: 1, MEMORY_MB: 128, DISK_GB: 1 } }]]);
    t.deepEqual([it.row['old_flavor'], it.row['new_flavor'], it.row['migration_context'], it.row['compute_id'], it.row['launched_on']], [null, null, null, 7, host]);
  });

  test(`a stopped server stays stopped over a resize to ${where} and its revert`, async (t) => {
    const it = await TwoHosts.begin();
    it.w.containers.made.get(uuid)!.state = 'stopped';
    Object.assign(it.row, { vm_state: 'stopped', power_state: 4 });
    await it.resize(to);
    t.deepEqual(it.seen, ['resized', null, to, 2, 'finished']);
    t.is(it.at(to).containers.made.get(uuid)?.state, 'stopped');
    await it.revert();
    t.deepEqual([it.failures, it.seen, it.disks], [[], ['stopped', null, host, 1, 'reverted'], { [host]: ['stopped 1'], [other]: [] }]);
  });

  const failing = ['containers.stopContainer', to === host ? 'moves.resize' : 'haul', to === host ? 'moves.resized' : 'hauled', ...(to === host ? [] : ['moves.keep']), 'Instance.save -/resize_migrated', 'cast finish_resize'];
  for (const step of failing) {
    test(`resize to ${where}: a failure at ${step} leaves the server running where it was`, async (t) => {
      const it = await TwoHosts.begin();
      it.w.steps.fail(step, broken());
      await it.resize(to);
      await it.settled();
      t.deepEqual(it.seen, asBefore);
      t.deepEqual(it.disks, { [host]: ['running 1'], [other]: [] });
      t.deepEqual([...it.w.placement.allocations], [[uuid, { [nodeUuid]: { VCPU: 1, MEMORY_MB: 128, DISK_GB: 1 } }]]);
      t.deepEqual(it.w.containers.plugged.get(uuid)?.size, 1);
      t.is(it.w.nova.faults.length, 1);
      t.deepEqual([it.row['migration_context'], it.row['new_flavor']], [null, null]);
      t.true(it.w.nova.events.every((event) => event.done));
    });
  }

  test(`resize to ${where}: a start that fails there is an error there, and the source's allocation goes`, async (t) => {
    const it = await TwoHosts.begin();
    it.w.steps.fail('containers.run', broken());
    await it.resize(to);
    t.deepEqual(it.seen, ['error', null, to, 1, 'error']);
    t.deepEqual([...it.w.placement.allocations.keys()], [uuid]);
    t.true(it.at(host).containers.moves.aside.has(uuid), 'nothing is thrown away');
  });
}

test('claims: both sizes count until the move is over, also after an audit, at both ends', async (t) => {
  for (const to of [host, other]) {
    const it = await TwoHosts.begin();
    const used = async (name: string): Promise<unknown> => {
      const { compute } = it.at(name);
      await compute.tracker.audit({ ...it.w.nova.service, read_deleted: 'no' });
      return it.w.nova.nodes.find((node) => node['host'] === name)?.['vcpus_used'];
    };
    t.deepEqual([await used(host), await used(other)], [2, 1]);
    await it.resize(to);
    t.deepEqual([await used(host), await used(other)], to === host ? [4, 1] : [2, 3]);
    await it.restart(host); // nothing in memory
    t.is(await used(host), to === host ? 4 : 2);
    if (to === host) await it.confirm();
    else await it.revert();
    t.deepEqual([await used(host), await used(other)], to === host ? [3, 1] : [2, 1]);
    for (const { compute } of it.hosts.values()) compute.tracker.stop();
  }
});

test('a disk is never shrunk, and the guest does not notice the try', async (t) => {
  const it = await TwoHosts.begin();
  it.w.containers.made.get(uuid)!.spec = { ...it.w.containers.made.get(uuid)!.spec, limits: { ...it.w.containers.made.get(uuid)!.spec.limits, rootGiB: 20 } };
  await it.resize(host);
  t.deepEqual([it.seen, it.disks], [asBefore, { [host]: ['running 1'], [other]: [] }]);
  t.like(it.w.nova.faults[0], { code: 500 });
  t.regex(String(it.w.nova.faults[0]?.['message']), /Unable to resize disk down/);
  t.is(it.w.steps.count('containers.stopContainer'), 0);
});

test('the same flavor on the same host is refused; a failed preparation is scheduled again where the scheduler allows', async (t) => {
  const it = await TwoHosts.begin();
  await it.resize(host, { flavor: { id: it.row['instance_type_id'] } });
  t.is((it.failures[0] as HaulierError).nova.class, 'UnableToMigrateToSelf');
  t.deepEqual([it.seen, it.disks], [asBefore, { [host]: ['running 1'], [other]: [] }]);
  it.w.steps.fail(`${other} expect`, broken());
  const asked: unknown[] = [];
  const onCall = it.w.nova.onCall!;
  it.w.nova.onCall = (target, method, args, about) => {
    if (method === 'migrate_server') asked.push([target.version, target.namespace, (args['scheduler_hint'] as { filter_properties: { retry: { exc: unknown } } }).filter_properties.retry.exc]);
    return onCall(target, method, args, about);
  };
  await it.resize(other, { filter: { retry: { num_attempts: 1, hosts: [] } } });
  t.deepEqual(asked, [['1.20', 'compute_task', ['No space left on /x: full']]]);
  t.is(it.row['task_state'], 'resize_prep');
  t.deepEqual(it.w.placement.allocations.get(uuid), { [nodeUuid]: { VCPU: 1, MEMORY_MB: 128, DISK_GB: 1 } });
});

test('the ticket goes to the source, and no further', async (t) => {
  const it = await TwoHosts.begin();
  await it.resize(other);
  const image = (method: string): unknown => (it.w.nova.casts.find((cast) => cast.method === method)?.args['image'] as Record<string, unknown>)['haulier_ticket'];
  t.deepEqual([image('resize_instance'), image('finish_resize')], [{ token: `for ${uuid}` }, undefined]);
  t.false(JSON.stringify([...it.w.nova.instances.values(), ...it.w.nova.migrations]).includes(`for ${uuid}`));
});

test('a destination that is down takes nothing: the source keeps the server', async (t) => {
  const it = await TwoHosts.begin();
  it.w.steps.before('hauled', () => it.down.add(other));
  await it.resize(other);
  it.down.delete(other);
  t.deepEqual([it.seen, (it.disks as Record<string, unknown>)[host]], [asBefore, ['running 1']]);
  await it.restart(other); // throws away what came
  t.deepEqual(it.disks, { [host]: ['running 1'], [other]: [] });
});

test('messages that come twice do nothing', async (t) => {
  const it = await TwoHosts.begin();
  await it.resize(other);
  for (const method of ['resize_instance', 'finish_resize']) {
    const cast = it.w.nova.casts.find((item) => item.method === method)!;
    await it.at(method === 'finish_resize' ? other : host).send(method, cast.args);
  }
  t.deepEqual([it.seen, it.disks], [['resized', null, other, 2, 'finished'], { [host]: ['kept'], [other]: ['running 2'] }]);
  await it.revert();
  await it.at(host).send('finish_revert_resize', it.w.nova.casts.find((item) => item.method === 'finish_revert_resize')!.args);
  t.deepEqual([it.seen, it.disks], [['active', null, host, 1, 'reverted'], { [host]: ['running 1'], [other]: [] }]);
});

/** Kills a service at a fake's step: nothing of the operation goes on, not even its rollback. */
function dies(it: TwoHosts, step: string): Promise<void> {
  return new Promise((resolve) => it.w.steps.before(step, () => { resolve(); return new Promise(() => undefined); }));
}

for (const to of [host, other]) {
  const where = to === host ? 'the same host' : 'another host';
  const deaths: [string, string, unknown[], Record<string, unknown>][] = [
    ['containers.stopContainer', host, asBefore, { [host]: ['running 1'], [other]: [] }],
    [to === host ? 'moves.resized' : 'hauled', host, asBefore, { [host]: ['running 1'], [other]: [] }],
    ['Instance.save -/resize_migrated', host, asBefore, { [host]: ['running 1'], [other]: [] }],
    ['cast finish_resize', host, ['resized', null, to, 2, 'finished'], to === host ? { [host]: ['running 2', 'kept'], [other]: [] } : { [host]: ['kept'], [other]: ['running 2'] }],
    ['Instance.save -/resize_finish', to, ['resized', null, to, 2, 'finished'], to === host ? { [host]: ['running 2', 'kept'], [other]: [] } : { [host]: ['kept'], [other]: ['running 2'] }],
    ['containers.run', to, ['resized', null, to, 2, 'finished'], to === host ? { [host]: ['running 2', 'kept'], [other]: [] } : { [host]: ['kept'], [other]: ['running 2'] }],
    ['Instance.save resized/null', to, ['resized', null, to, 2, 'finished'], to === host ? { [host]: ['running 2', 'kept'], [other]: [] } : { [host]: ['kept'], [other]: ['running 2'] }],
  ];
  for (const [step, victim, seen, disks] of deaths) {
    test(`resize to ${where}: the service dies at ${step}, and its next start ends the move`, async (t) => {
      const it = await TwoHosts.begin();
      const death = dies(it, step);
      void it.resize(to);
      await death;
      await it.restart(victim);
      if (victim === host && to === other) await it.restart(other); // throws away what came for nothing
      t.deepEqual([it.seen, it.disks], [seen, disks]);
      t.deepEqual(it.w.placement.allocations.size, seen === asBefore ? 1 : 2);
    });
  }

  for (const [step, victim] of [['Migration.save', to], ['cast finish_revert_resize', to], ['Instance.save -/-', host], ['moves.restore', host], ['containers.run', host], ['Instance.save active/null', host]] as const) {
    test(`revert to ${where}: the service dies at ${step}, and its next start ends the revert`, async (t) => {
      const it = await TwoHosts.begin();
      await it.resize(to);
      // the destination saves the instance once before
      if (step === 'Instance.save -/-') it.w.steps.before(step, () => undefined);
      const death = dies(it, step);
      void it.revert();
      await death;
      await it.restart(victim);
      t.deepEqual([it.seen, it.disks], [['active', null, host, 1, 'reverted'], { [host]: ['running 1'], [other]: [] }]);
      t.deepEqual([...it.w.placement.allocations], [[uuid, { [nodeUuid]: { VCPU: 1, MEMORY_MB: 128, DISK_GB: 1 } }]]);
    });
  }

  for (const step of ['moves.drop', 'Migration.save', 'Instance.save active/null']) {
    test(`confirm on ${where}: the service dies at ${step}`, async (t) => {
      const it = await TwoHosts.begin();
      await it.resize(to);
      const death = dies(it, step);
      void it.confirm();
      await death;
      await it.restart(host);
      const left = (it.disks as Record<string, string[]>)[host];
      t.deepEqual([it.row['host'], it.row['vcpus'], it.at(to).containers.made.get(uuid)?.state], [to, 2, 'running']);
      if (step === 'moves.drop') t.deepEqual([it.seen, left], [['active', null, to, 2, 'confirmed'], to === host ? ['running 2'] : []]);
    });
  }
}

test('the destination dies while it prepares: the move is off', async (t) => {
  for (const to of [host, other]) {
    const it = await TwoHosts.begin();
    const death = dies(it, 'cast resize_instance');
    void it.resize(to);
    await death;
    await it.restart(to);
    t.deepEqual([it.seen, it.disks], [asBefore, { [host]: ['running 1'], [other]: [] }]);
    t.deepEqual([...it.w.placement.allocations.keys()], [uuid]);
  }
});

test('what was set aside goes with its deleted server, and with nothing else', async (t) => {
  const it = await TwoHosts.begin();
  await it.resize(other);
  await reapKept(it.at(host).compute, context);
  t.true(it.w.containers.moves.aside.has(uuid));
  Object.assign(it.row, { deleted: true, vm_state: 'deleted' });
  await reapKept(it.at(host).compute, context);
  t.false(it.w.containers.moves.aside.has(uuid));
});

test('a resize that nobody confirms confirms itself; not while its server is being deleted, not against a source that is down', async (t) => {
  const it = await TwoHosts.begin({ resizeConfirmWindow: 60 });
  await it.resize(other);
  const poll = async (): Promise<unknown> => {
    await confirmOldResizes(it.at(other).compute);
    await it.settled();
    return it.migration['status'];
  };
  it.row['task_state'] = 'deleting';
  t.is(await poll(), 'finished');
  it.row['task_state'] = null;
  it.down.add(host);
  t.is(await poll(), 'finished');
  it.down.delete(host);
  t.is(await poll(), 'confirmed');
  t.deepEqual([it.seen, it.disks, it.w.nova.actions.at(-1)], [['active', null, other, 2, 'confirmed'], { [host]: [], [other]: ['running 2'] }, 'confirmResize']);
});
