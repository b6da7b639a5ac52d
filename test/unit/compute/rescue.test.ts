/** rescue and unrescue over the fakes: whose container is there, what is saved, and that a failure or the service's end at any step brings the server's own one back. */
import test from 'ava';
import { HaulierError } from '../../../src/base/errors.js';
import { initHost } from '../../../src/compute/init-host.js';
import { rescueFaultPoints } from '../../../src/compute/methods/rescue.js';
import { messages, uuid, world, type World } from './world.js';

const recorded = messages('rescue').find((message) => message.method === 'rescue_instance')!;
const other = '0a0b6f0e-3b3c-4c64-a0d5-7f6c0c2f0a11';

const image = (id: string): World['glance']['records'][number] => ({ id, name: 'r', status: 'active', size: 1, min_disk: 0, min_ram: 0, disk_format: 'raw', container_format: 'bare', checksum: null, os_hash_algo: null, os_hash_value: null, properties: {} });

async function booted(change: Parameters<typeof world>[0] = {}): Promise<{ readonly w: World; readonly own: string; readonly rescue: (ref?: string) => Promise<unknown>; readonly unrescue: () => Promise<unknown> }> {
  const w = await world(change);
  await w.boot();
  const own = String(w.nova.row(uuid)['image_ref']);
  w.glance.records.push(image(own), image(other));
  w.steps.clear();
  return {
    w, own,
    rescue: (ref) => {
      w.nova.row(uuid)['task_state'] = 'rescuing';
      return w.send('rescue_instance', { ...structuredClone(recorded.args), instance: w.instance(), rescue_image_ref: ref ?? null });
    },
    unrescue: () => {
      w.nova.row(uuid)['task_state'] = 'unrescuing';
      return w.send('unrescue_instance', { instance: w.instance() });
    },
  };
}

const states = (w: World): unknown[] => [w.nova.row(uuid)['vm_state'], w.nova.row(uuid)['task_state'], w.nova.row(uuid)['power_state']];
const own = (w: World): unknown[] => [w.containers.made.get(uuid)?.state, w.containers.made.get(uuid)?.spec.rescue, w.containers.moves.aside.size];

test('a container of the image that is named takes the place, with the same ports; afterwards the own one is back and runs', async (t) => {
  const { w, rescue, unrescue } = await booted();
  const before = structuredClone(w.containers.made.get(uuid)!.spec);
  await rescue(other);
  t.deepEqual(states(w), ['rescued', null, 1]);
  t.deepEqual(w.containers.made.get(uuid)?.spec, { ...before, imageId: other, rescue: true });
  t.is(w.containers.moves.aside.get(uuid)?.state, 'stopped');
  t.deepEqual(w.steps.of('containers.ensureImage', 'containers.check', 'containers.stopContainer', 'moves.keep', 'containers.create', 'containers.run', 'Instance.save rescued/null'),
    ['containers.ensureImage', 'containers.check', 'containers.stopContainer', 'moves.keep', 'containers.create', 'containers.run', 'Instance.save rescued/null']);
  await unrescue();
  t.deepEqual(states(w), ['active', null, 1]);
  t.deepEqual(w.containers.made.get(uuid), { state: 'running', spec: before });
  t.deepEqual([own(w), w.nova.faults, w.containers.clashes], [['running', undefined, 0], [], []]);
  t.deepEqual(w.nova.events.map(({ name, error, done }) => [name, error, done]).slice(-2), [['compute_rescue_instance', null, true], ['compute_unrescue_instance', null, true]]);
});

test('which image: the named one, the operator\'s, the server\'s', async (t) => {
  const mine = await booted();
  await mine.rescue();
  t.is(mine.w.containers.made.get(uuid)?.spec.imageId, mine.own);
  const operators = await booted({ rescueImageId: other });
  await operators.rescue();
  t.is(operators.w.containers.made.get(uuid)?.spec.imageId, other);
  const named = await booted({ rescueImageId: other });
  await named.rescue(named.own);
  t.is(named.w.containers.made.get(uuid)?.spec.imageId, named.own);
});

for (const step of [`glance.image ${other}`, 'containers.ensureImage', 'containers.check', 'neutron.ports', 'containers.stopContainer', 'moves.keep', 'containers.create', 'containers.giveBootData', 'containers.startContainer', 'containers.run']) {
  test(`a failure of ${step}: the server's own container runs, and the user is told`, async (t) => {
    const { w, rescue } = await booted();
    const before = structuredClone(w.containers.made.get(uuid));
    w.steps.fail(step, new HaulierError('DISK_FULL', { path: '/x', reason: 'full' }));
    t.like(await t.throwsAsync(rescue(other)), { code: 'NOT_RESCUABLE', nova: { class: 'InstanceNotRescuable' } });
    t.deepEqual([w.containers.made.get(uuid), states(w).slice(0, 2), w.containers.moves.aside.size], [before, ['active', null], 0]);
    t.regex(JSON.stringify(w.nova.faults.at(-1)), /cannot be rescued: No space left/);
    await rescue(other);
    t.is(states(w)[0], 'rescued');
  });
}

test('a failure that even keeps the own one from starting is an error of the server', async (t) => {
  const { w, rescue } = await booted();
  for (let count = 0; count < 2; count++) w.steps.fail('containers.run', new HaulierError('RUNTIME_FAILED', { action: 'start', reason: 'no' }));
  await t.throwsAsync(rescue(other), { code: 'NOT_RESCUABLE' });
  t.deepEqual([states(w).slice(0, 2), own(w)], [['error', null], ['stopped', undefined, 0]]);
});

test('after a failed unrescue it is still rescued, so that it can be unrescued again; what was set aside is never thrown away', async (t) => {
  const { w, rescue, unrescue } = await booted();
  await rescue(other);
  w.steps.fail('moves.restore', new HaulierError('COMMAND_FAILED', { command: 'umount', outcome: '32', stderr: 'busy' }));
  await t.throwsAsync(unrescue(), { code: 'COMMAND_FAILED' });
  t.deepEqual([states(w).slice(0, 2), w.containers.moves.aside.size], [['rescued', null], 1]);
  await unrescue();
  t.deepEqual([states(w), own(w)], [['active', null, 1], ['running', undefined, 0]]);
  t.is(rescueFaultPoints.length, 8);
});

test('deleted while rescued: nothing is left', async (t) => {
  const { w, rescue } = await booted();
  await rescue(other);
  w.nova.row(uuid)['task_state'] = 'deleting';
  await w.send('terminate_instance', { instance: w.instance(), bdms: { 'nova_object.name': 'BlockDeviceMappingList', 'nova_object.namespace': 'nova', 'nova_object.version': '1.18', 'nova_object.data': { objects: [] } } });
  t.deepEqual([w.containers.made.size, w.containers.moves.aside.size, w.neutron.stored.size], [0, 0, 0]);
});

test('its password, key pair and config drive are in it before its start; of the user data only what is on the drive', async (t) => {
  const { w, own: ownImage, unrescue } = await booted();
  const script = Buffer.from('#!/bin/sh\nmkfs /dev/vdb\n');
  Object.assign(w.nova.row(uuid), { key_data: 'ssh-ed25519 AAAA k', user_data: script.toString('base64'), config_drive: 'True', task_state: 'rescuing' });
  w.containers.bootData.length = 0;
  await w.send('rescue_instance', { ...structuredClone(recorded.args), instance: w.instance(), rescue_image_ref: ownImage, rescue_password: 'Sesame-77' });
  const [tree, drive, ...more] = w.containers.bootData;
  t.deepEqual([tree, more], [{ configDrive: undefined, adminUser: 'root', adminPassword: 'Sesame-77', publicKeys: ['ssh-ed25519 AAAA k'], userData: undefined, files: [] }, []]);
  t.like(JSON.parse(drive?.configDrive?.get('openstack/latest/meta_data.json')?.toString() ?? '{}'), { uuid, admin_pass: 'Sesame-77' });
  t.deepEqual(drive?.configDrive?.get('openstack/latest/user_data'), script, 'as Nova has it');
  t.deepEqual(w.steps.of('containers.create', 'containers.giveBootData', 'containers.run'), ['containers.create', 'containers.giveBootData', 'containers.giveBootData', 'containers.run']);
  t.false(JSON.stringify(w.containers.made.get(uuid)?.spec).includes('Sesame'));
  await unrescue();
  t.is(w.containers.bootData.length, 2, 'the own system is left alone');
});

test('soft-deleted while rescued: what is restored is its own system; another try if that fails; reclaimed, nothing is left', async (t) => {
  const { w, rescue } = await booted();
  const before = structuredClone(w.containers.made.get(uuid)!.spec);
  const send = (method: string, task: string): Promise<unknown> => {
    w.nova.row(uuid)['task_state'] = task;
    return w.send(method, { instance: w.instance() });
  };
  await rescue(other);
  await send('soft_delete_instance', 'soft-deleting');
  t.deepEqual([states(w), own(w)], [['soft-delete', null, 4], ['stopped', true, 1]]);
  await initHost(w.compute);
  t.deepEqual(own(w), ['stopped', true, 1]);
  w.steps.fail('moves.restore', new HaulierError('COMMAND_FAILED', { command: 'umount', outcome: '32', stderr: 'busy' }));
  await t.throwsAsync(send('restore_instance', 'restoring'), { code: 'COMMAND_FAILED' });
  t.deepEqual([states(w).slice(0, 2), own(w)], [['soft-delete', null], ['stopped', true, 1]]);
  await send('restore_instance', 'restoring');
  t.deepEqual([states(w), w.containers.made.get(uuid), w.containers.moves.aside.size], [['active', null, 1], { state: 'running', spec: before }, 0]);
  await rescue(other);
  t.is(states(w)[0], 'rescued', 'as any server');

  await send('soft_delete_instance', 'soft-deleting');
  w.nova.row(uuid)['task_state'] = 'deleting';
  await w.send('terminate_instance', { instance: w.instance(), bdms: { 'nova_object.name': 'BlockDeviceMappingList', 'nova_object.namespace': 'nova', 'nova_object.version': '1.18', 'nova_object.data': { objects: [] } } });
  t.deepEqual([w.containers.made.size, w.containers.moves.aside.size], [0, 0]);
});

for (const [when, arrange] of [
  ['before the own one was stopped', async () => undefined],
  ['when it was set aside', async (w: World) => { w.containers.made.get(uuid)!.state = 'stopped'; await w.compute.operations.run({ name: 'x' }, async (operation) => { await w.containers.moves.keep(uuid, operation); operation.commit(); }); }],
  ['when the rescue container was there', async (w: World) => {
    w.containers.made.get(uuid)!.state = 'stopped';
    const { spec } = w.containers.made.get(uuid)!;
    await w.compute.operations.run({ name: 'x' }, async (operation) => {
      await w.containers.moves.keep(uuid, operation);
      await w.containers.create({ ...spec, imageId: other, rescue: true }, operation);
      operation.commit();
    });
  }],
] as const) {
  test(`the service ended in a rescue, ${when}: its start brings the own one back, running`, async (t) => {
    const { w } = await booted();
    await arrange(w);
    w.nova.row(uuid)['task_state'] = 'rescuing';
    await initHost(w.compute);
    t.deepEqual([states(w), own(w)], [['active', null, 1], ['running', undefined, 0]]);
  });
}

test('the service ended in an unrescue: its start finishes it; a rescued server stays rescued', async (t) => {
  const { w, rescue } = await booted();
  await rescue(other);
  await initHost(w.compute);
  t.deepEqual([states(w), own(w)], [['rescued', null, 1], ['running', true, 1]]);
  w.nova.row(uuid)['task_state'] = 'unrescuing';
  await initHost(w.compute);
  t.deepEqual([states(w), own(w)], [['active', null, 1], ['running', undefined, 0]]);
});
