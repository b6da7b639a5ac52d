/**
 * Messages that come again under another id, or in an order in which nobody sends them: what runs is not touched, what was written is not
 * lost, and the record says what is.
 */
import test, { type ExecutionContext } from 'ava';
import { wire } from './fake-nova.js';
import { LiveHosts } from './live-hosts.js';
import { other, TwoHosts } from './two-hosts.js';
import { host, leftovers, messages, uuid, world, type World } from './world.js';

const none = wire('BlockDeviceMappingList', '1.18', { objects: [] });
const rebuild = messages('rebuild').find((message) => message.method === 'rebuild_instance' && 'accel_uuids' in message.args)!;
const newImage = '0a0b6f0e-3b3c-4c64-a0d5-7f6c0c2f0a11';

async function booted(): Promise<World> {
  const w = await world({ vifPluggingTimeout: 0 });
  await w.boot();
  w.glance.records.push({ id: newImage, name: null, status: 'active', size: 1, min_disk: 0, min_ram: 0, disk_format: 'raw', container_format: 'bare', checksum: null, os_hash_algo: null, os_hash_value: null, properties: {} });
  return w;
}

const changing = ['containers.stopContainer', 'containers.startContainer', 'containers.pause', 'containers.unpause', 'containers.suspend', 'containers.resume', 'containers.destroy', 'containers.create', 'containers.setPassword', 'containers.snapshot',
  'moves.keep', 'moves.drop', 'moves.restore', 'placement.deleteAllocations', 'neutron.deletePort', 'neutron.bind', 'neutron.updatePort'];

/** All that a message could change. */
const state = (w: World): string => JSON.stringify([w.nova.row(uuid), w.containers.made.get(uuid), [...w.containers.plugged].map(([id, ports]) => [id, [...ports]]), [...w.placement.allocations], [...w.neutron.stored], w.nova.caches.get(uuid), w.containers.passwords]);

/** Sends it, whatever it answers; nothing of the server may be another than before. */
async function nothing(t: ExecutionContext, w: World, method: string, args: Record<string, unknown>, what: string): Promise<void> {
  const before = state(w);
  w.steps.clear();
  const faults = w.nova.faults.length;
  await w.send(method, args).catch(() => undefined);
  t.deepEqual(w.steps.of(...changing), [], `${method} ${what}`);
  t.is(state(w), before, `${method} ${what}`);
  t.is(w.nova.faults.length, faults, `${method} ${what}: a healthy server gets no fault`);
  t.deepEqual(leftovers(w).filter((left) => /operation|lock|clash/.test(left)), []);
}

const about: Readonly<Record<string, readonly [string, Record<string, unknown>]>> = {
  stop_instance: ['powering-off', { clean_shutdown: true }],
  start_instance: ['powering-on', {}],
  pause_instance: ['pausing', {}],
  unpause_instance: ['unpausing', {}],
  suspend_instance: ['suspending', {}],
  resume_instance: ['resuming', {}],
  rescue_instance: ['rescuing', { rescue_password: 'x', rescue_image_ref: null, clean_shutdown: true }],
  unrescue_instance: ['unrescuing', {}],
  rebuild_instance: ['rebuilding', { ...rebuild.args, image_ref: newImage, recreate: false }],
  shelve_instance: ['shelving', { image_id: newImage, clean_shutdown: true, accel_uuids: null }],
  shelve_offload_instance: ['shelving_offloading', { clean_shutdown: true, accel_uuids: null }],
  soft_delete_instance: ['soft-deleting', {}],
  restore_instance: ['restoring', {}],
  set_admin_password: ['updating_password', { new_pass: 'another' }],
  reboot_instance: ['rebooting', { block_device_info: null, reboot_type: 'SOFT' }],
};

for (const [method, [task, args]] of Object.entries(about)) {
  test(`${method} that comes when nobody waits for it any more, or while something else is done, touches nothing`, async (t) => {
    const w = await booted();
    const sent = { ...structuredClone(args), instance: w.instance({ task_state: task }) };
    await nothing(t, w, method, sent, 'of a server at rest');
    for (const current of ['migrating', 'deleting', 'image_uploading']) {
      w.nova.row(uuid)['task_state'] = current;
      await nothing(t, w, method, sent, `while it is ${current}`);
    }
  });
}

const rounds = [['stop_instance', 'start_instance'], ['pause_instance', 'unpause_instance'], ['suspend_instance', 'resume_instance']] as const;
for (const [there, back] of rounds) {
  test(`${there} and ${back} come again, in every order, after both were done`, async (t) => {
    const w = await booted();
    const sent = new Map<string, Record<string, unknown>>();
    for (const method of [there, back]) {
      const [task, args] = about[method]!;
      w.nova.row(uuid)['task_state'] = task;
      sent.set(method, { ...args, instance: w.instance() });
      await w.send(method, sent.get(method)!);
      t.is(w.nova.row(uuid)['task_state'], null);
    }
    t.deepEqual([w.nova.row(uuid)['vm_state'], w.containers.made.get(uuid)?.state], ['active', 'running']);
    for (const method of [there, back, back, there]) await nothing(t, w, method, sent.get(method)!, 'again');
    // and side by side
    const before = state(w);
    await Promise.allSettled([there, back, there].map((method) => w.send(method, sent.get(method)!)));
    t.is(state(w), before);
    t.deepEqual(w.containers.clashes, []);
  });
}

test('a stop that comes late takes no memory away, and no state that means something', async (t) => {
  const w = await booted();
  const sent = { clean_shutdown: true, instance: w.instance({ task_state: 'powering-off' }) };
  for (const [state, vm] of [['suspended', 'suspended'], ['suspended', 'shelved'], ['stopped', 'soft-delete'], ['stopped', 'resized'], ['stopped', 'rescued']] as const) {
    w.containers.made.get(uuid)!.state = state;
    Object.assign(w.nova.row(uuid), { vm_state: vm, task_state: null });
    await nothing(t, w, 'stop_instance', sent, `of a server that is ${vm}`);
  }
});

test('two resumes at once: the second finds it running', async (t) => {
  const w = await booted();
  w.containers.made.get(uuid)!.state = 'suspended';
  Object.assign(w.nova.row(uuid), { vm_state: 'suspended', task_state: 'resuming' });
  const sent = { instance: w.instance() };
  await Promise.all([w.send('resume_instance', sent), w.send('resume_instance', sent)]);
  t.deepEqual([w.steps.count('containers.resume'), w.nova.row(uuid)['vm_state'], w.containers.made.get(uuid)?.state, w.containers.clashes], [1, 'active', 'running', []]);
});

test('a rebuild that comes again does not throw away what was written since', async (t) => {
  const w = await booted();
  const row = w.nova.row(uuid);
  const before = row['image_ref'];
  Object.assign(row, { task_state: 'rebuilding', image_ref: newImage });
  const sent = { ...structuredClone(rebuild.args), instance: w.instance(), image_ref: newImage, orig_image_ref: before, recreate: false };
  await w.send('rebuild_instance', sent);
  t.is(w.nova.row(uuid)['vm_state'], 'active');
  await nothing(t, w, 'rebuild_instance', sent, 'again');
});

test('a build that comes again, of a server that runs, was stopped, or is deleted', async (t) => {
  const w = await booted();
  const args = w.bootArgs();
  const before = state(w);
  for (const vm of ['active', 'stopped']) {
    w.nova.row(uuid)['vm_state'] = vm;
    w.steps.clear();
    await w.send('build_and_run_instance', args).catch(() => undefined);
    t.deepEqual(w.steps.of('containers.destroy', 'containers.stopContainer', 'containers.create', 'neutron.deletePort'), [], vm);
    t.is(w.nova.row(uuid)['vm_state'], vm);
    w.nova.row(uuid)['vm_state'] = 'active';
    t.is(state(w), before, vm);
  }
  w.nova.row(uuid)['task_state'] = 'deleting';
  await w.send('terminate_instance', { instance: w.instance(), bdms: none });
  await w.send('build_and_run_instance', args).catch(() => undefined);
  t.deepEqual(leftovers(w), []);
});

test('terminate before its build, and again after it', async (t) => {
  const w = await world({ vifPluggingTimeout: 0 });
  w.nova.row(uuid)['task_state'] = 'deleting';
  const terminate = { instance: w.instance(), bdms: none };
  await w.send('terminate_instance', terminate);
  t.true(w.nova.row(uuid)['deleted']);
  await w.send('build_and_run_instance', w.bootArgs()).catch(() => undefined);
  t.deepEqual(leftovers(w), [], 'nothing comes into being for a server that is deleted');
  await w.send('terminate_instance', terminate).catch(() => undefined);
  t.deepEqual([leftovers(w), w.nova.faults], [[], []]);
});

for (const step of ['neutron.bind', 'containers.create', 'containers.startContainer', 'Instance.save active/null'] as const) {
  test(`two deletes during a build, at ${step}: nothing is left, nobody waits`, async (t) => {
    const w = await world({ vifPluggingTimeout: 0 });
    const held = w.steps.block(step);
    const built = w.send('build_and_run_instance', w.bootArgs()).catch(() => undefined);
    await held.reached;
    w.nova.row(uuid)['task_state'] = 'deleting';
    const terminate = { instance: w.instance(), bdms: none };
    const deleted = [w.send('terminate_instance', terminate), w.send('terminate_instance', terminate)];
    held.release();
    await Promise.allSettled([built, ...deleted]);
    t.true(w.nova.row(uuid)['deleted']);
    t.deepEqual(leftovers(w), []);
  });
}

test('confirm_resize before finish_resize, and one of an earlier move: what is set aside stays', async (t) => {
  const it = await TwoHosts.begin();
  const finish = it.w.steps.block('Instance.save -/resize_finish');
  const moving = it.resize(other);
  await finish.reached;
  const early = { instance: it.w.instance(), migration: wire('Migration', '1.8', { ...it.migration, status: 'confirming' }) };
  await it.at(host).send('confirm_resize', early).catch(() => undefined);
  t.deepEqual((it.disks as Record<string, string[]>)[host], ['kept']);
  finish.release();
  await moving;
  t.deepEqual([it.seen, it.disks], [['resized', null, other, 2, 'finished'], { [host]: ['kept'], [other]: ['running 2'] }]);
  // the first move is reverted, and a second one made: a confirmation of the first must not take what the second has set aside
  const first = { instance: it.w.instance(), migration: wire('Migration', '1.8', { ...it.migration, status: 'confirming' }) };
  await it.revert();
  await it.resize(other);
  t.is(it.migration['status'], 'finished');
  await it.at(host).send('confirm_resize', first).catch(() => undefined);
  t.deepEqual([it.seen, it.disks], [['resized', null, other, 2, 'finished'], { [host]: ['kept'], [other]: ['running 2'] }]);
  await it.confirm();
  t.deepEqual([it.seen, it.disks], [['active', null, other, 2, 'confirmed'], { [host]: [], [other]: ['running 2'] }]);
});

test('revert_resize that comes when the move is confirmed does not end the server', async (t) => {
  const it = await TwoHosts.begin();
  await it.resize(other);
  const late = { instance: it.w.instance({ task_state: 'resize_reverting' }), migration: wire('Migration', '1.8', { ...it.migration, status: 'reverting' }), request_spec: null };
  await it.confirm();
  const before = JSON.stringify([it.row, it.migration, it.disks]);
  await it.at(other).send('revert_resize', late).catch(() => undefined);
  await it.settled();
  t.is(JSON.stringify([it.row, it.migration, it.disks]), before);
  t.deepEqual(it.disks, { [host]: [], [other]: ['running 2'] });
});

test('unshelve_instance that comes again does not take the server\'s ports and place', async (t) => {
  const w = await booted();
  const image = { id: newImage, status: 'active', size: 1, min_disk: 0, disk_format: 'raw', container_format: 'bare', properties: {} };
  await nothing(t, w, 'unshelve_instance', { instance: w.instance({ task_state: 'unshelving', vm_state: 'shelved_offloaded' }), image, filter_properties: {}, node: host, request_spec: null, accel_uuids: null }, 'of a server that runs');
});

test('post_live_migration_at_destination without anything having come, and again after it; a rollback twice', async (t) => {
  const live = await LiveHosts.begin();
  const before = JSON.stringify([live.it.row, live.places]);
  const post = (): Record<string, unknown> => ({ instance: live.w.instance(), block_migration: false });
  await t.throwsAsync(live.at(other).send('post_live_migration_at_destination', post()), { code: 'LIVE_MIGRATION_LOST' });
  t.is(JSON.stringify([live.it.row, live.places]), before, 'the server is where it runs');

  const data = await live.check();
  const rollback = { instance: live.w.instance(), destroy_disks: true, migrate_data: data.toPrimitive() as unknown as Record<string, unknown> };
  for (let n = 0; n < 2; n++) await live.at(other).send('rollback_live_migration_at_destination', rollback);
  t.deepEqual([live.places, live.it.row['host']], [['running 1', '- 0'], host]);
  live.it.row['task_state'] = null;
  await live.migrate();
  const arrived = JSON.stringify([live.it.row, live.places, live.w.nova.caches.get(uuid)]);
  await live.at(other).send('post_live_migration_at_destination', post());
  for (let n = 0; n < 2; n++) await live.at(other).send('rollback_live_migration_at_destination', rollback);
  t.is(JSON.stringify([live.it.row, live.places, live.w.nova.caches.get(uuid)]), arrived);
  t.deepEqual(live.places, ['- 0', 'running 1']);
});
