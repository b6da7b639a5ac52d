import test from 'ava';
import { HaulierError } from '../../../src/base/errors.js';
import { withFreezeHook } from '../../../src/compute/methods/quiesce.js';
import type { InstanceCall } from '../../../src/compute/compute.js';
import { Operation } from '../../../src/base/operation.js';
import { silentLog } from '../../../src/base/log.js';
import { NovaObject } from '../../../src/nova/object.js';
import { uuid, world, type World } from './world.js';

async function booted(): Promise<World> {
  const w = await world();
  await w.boot();
  return w;
}

function callOf(metadata: Record<string, string>): InstanceCall {
  const instance = new NovaObject('Instance', '2.8');
  instance.load('uuid', uuid);
  instance.load('system_metadata', metadata);
  return { method: 'snapshot_instance', context: {}, args: {}, operation: new Operation({ name: 'test', log: silentLog() }), instance, uuid };
}

test('quiesce and unquiesce reach the container, and change no state', async (t) => {
  const w = await booted();
  const before = w.nova.row(uuid)['vm_state'];
  await w.send('quiesce_instance', { instance: w.instance() });
  await w.send('unquiesce_instance', { instance: w.instance(), mapping: null });
  t.deepEqual(w.containers.quiesced, [`frozen ${uuid}`, `goes on ${uuid}`]);
  t.is(w.nova.row(uuid)['vm_state'], before);
  w.steps.fail('containers.quiesce', new HaulierError('QUIESCE_FAILED', { reason: 'the hook says no' }));
  t.like(await t.throwsAsync(w.send('quiesce_instance', { instance: w.instance() })), { nova: { class: 'InstanceQuiesceFailed', code: 409 } });
});

test('a snapshot runs the hook if the image asks for it; whether it may fail is the image\'s word', async (t) => {
  const w = await booted();
  const take = async (): Promise<string> => {
    w.containers.quiesced.push('taken');
    return 'snapshot';
  };
  t.is(await withFreezeHook(w.compute, callOf({}), take), 'snapshot');
  t.deepEqual(w.containers.quiesced.splice(0), ['taken']);
  await withFreezeHook(w.compute, callOf({ image_os_require_quiesce: 'yes' }), take);
  t.deepEqual(w.containers.quiesced.splice(0), [`hook ${uuid}`, 'taken', `goes on ${uuid}`]);
  await t.throwsAsync(withFreezeHook(w.compute, callOf({ image_hw_qemu_guest_agent: 'yes' }), async () => { throw new Error('disk full'); }), { message: 'disk full' });
  t.deepEqual(w.containers.quiesced.splice(0), [`hook ${uuid}`, `goes on ${uuid}`]);
  w.steps.fail('containers.quiesce', new HaulierError('QUIESCE_FAILED', { reason: 'no' }));
  await withFreezeHook(w.compute, callOf({ image_hw_qemu_guest_agent: 'yes' }), take);
  t.deepEqual(w.containers.quiesced.splice(0), ['taken']);
  w.steps.fail('containers.quiesce', new HaulierError('QUIESCE_FAILED', { reason: 'no' }));
  await t.throwsAsync(withFreezeHook(w.compute, callOf({ image_hw_qemu_guest_agent: 'yes', image_os_require_quiesce: 'True' }), take), { code: 'QUIESCE_FAILED' });
  t.deepEqual(w.containers.quiesced, []);
});
