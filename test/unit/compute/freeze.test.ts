import test from 'ava';
import { HaulierError } from '../../../src/base/errors.js';
import { syncPowerStates } from '../../../src/compute/power-sync.js';
import { uuid, world, type World } from './world.js';

async function booted(): Promise<World> {
  const w = await world();
  await w.boot();
  w.steps.clear();
  w.nova.events.length = 0;
  return w;
}
const states = (w: World): unknown[] => ['vm_state', 'task_state', 'power_state'].map((field) => w.nova.row(uuid)[field]);
const metadata = (w: World): Record<string, string> => w.nova.row(uuid)['system_metadata'] as Record<string, string>;

test('suspend and resume: states, the state to go back to, the power sync agrees', async (t) => {
  const w = await booted();
  w.nova.row(uuid)['task_state'] = 'suspending';
  await w.send('suspend_instance', { instance: w.instance() });
  t.deepEqual(states(w), ['suspended', null, 7]);
  t.is(metadata(w)['old_vm_state'], 'active');
  await syncPowerStates(w.compute);
  t.deepEqual(states(w), ['suspended', null, 7]);
  w.nova.row(uuid)['task_state'] = 'resuming';
  await w.send('resume_instance', { instance: w.instance() });
  t.deepEqual(states(w), ['active', null, 1]);
  t.is(metadata(w)['old_vm_state'], undefined);
  t.deepEqual(w.nova.events.map(({ name }) => name), ['compute_suspend_instance', 'compute_resume_instance']);
});

test('a rescued server is rescued again after a resume', async (t) => {
  const w = await booted();
  Object.assign(w.nova.row(uuid), { vm_state: 'rescued', task_state: 'suspending' });
  await w.send('suspend_instance', { instance: w.instance() });
  t.is(metadata(w)['old_vm_state'], 'rescued');
  w.nova.row(uuid)['task_state'] = 'resuming';
  await w.send('resume_instance', { instance: w.instance() });
  t.deepEqual(states(w), ['rescued', null, 1]);
});

test('a dump that fails leaves the server active with a fault; a restore that fails leaves it suspended', async (t) => {
  const w = await booted();
  w.steps.fail('containers.suspend', new HaulierError('SUSPEND_FAILED', { reason: 'a ping socket' }));
  w.nova.row(uuid)['task_state'] = 'suspending';
  await t.throwsAsync(w.send('suspend_instance', { instance: w.instance() }), { code: 'SUSPEND_FAILED' });
  t.deepEqual(states(w), ['active', null, 1]);
  t.is(w.nova.faults.length, 1);
  w.nova.row(uuid)['task_state'] = 'suspending';
  await w.send('suspend_instance', { instance: w.instance() });
  w.steps.fail('containers.resume', new HaulierError('RESUME_FAILED', { reason: 'no such device' }));
  w.nova.row(uuid)['task_state'] = 'resuming';
  await t.throwsAsync(w.send('resume_instance', { instance: w.instance() }), { code: 'RESUME_FAILED' });
  t.deepEqual(states(w), ['suspended', null, 7]);
  t.is(w.nova.faults.length, 2);
  w.nova.row(uuid)['task_state'] = 'resuming';
  await w.send('resume_instance', { instance: w.instance() });
  t.deepEqual(states(w), ['active', null, 1]);
});

test('a container that is lost with its dump is an error state', async (t) => {
  const w = await booted();
  w.steps.whenever('containers.suspend', () => { w.containers.made.get(uuid)!.state = 'crashed'; });
  w.steps.fail('containers.suspend', new HaulierError('SUSPEND_FAILED', { reason: 'criu was killed' }));
  w.nova.row(uuid)['task_state'] = 'suspending';
  await t.throwsAsync(w.send('suspend_instance', { instance: w.instance() }), { code: 'SUSPEND_FAILED' });
  t.is(states(w)[0], 'error');
});

test('a suspended server is deleted, or rebooted hard', async (t) => {
  const w = await booted();
  w.nova.row(uuid)['task_state'] = 'suspending';
  await w.send('suspend_instance', { instance: w.instance() });
  w.nova.row(uuid)['task_state'] = 'rebooting_hard';
  await w.send('reboot_instance', { instance: w.instance(), block_device_info: null, reboot_type: 'HARD' });
  t.deepEqual(states(w), ['active', null, 1]);
});
