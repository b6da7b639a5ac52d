import test from 'ava';
import { HaulierError } from '../../../src/base/errors.js';
import { uuid, world, type World } from './world.js';

const states = (w: World): unknown[] => ['vm_state', 'task_state', 'power_state'].map((field) => w.nova.row(uuid)[field]);

test('a crash dump changes no state and is an event; one that fails is a fault as well', async (t) => {
  const w = await world();
  await w.boot();
  w.nova.events.length = 0;
  const before = states(w);
  await w.send('trigger_crash_dump', { instance: w.instance() });
  t.deepEqual(states(w), before);
  t.deepEqual(w.nova.events.map(({ name }) => name), ['compute_trigger_crash_dump']);
  w.steps.fail('containers.crashDump', new HaulierError('INSTANCE_NOT_RUNNING', { instance: uuid }));
  const error = await t.throwsAsync(w.send('trigger_crash_dump', { instance: w.instance() }), { code: 'INSTANCE_NOT_RUNNING' });
  t.like(error, { nova: { class: 'InstanceNotRunning', code: 400 } });
  t.deepEqual(states(w), before);
  t.is(w.nova.faults.length, 1);
});
