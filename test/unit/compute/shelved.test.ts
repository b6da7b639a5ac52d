/** A shelved server that never left its host is unshelved by start_instance: what is still in its memory, or frozen on disk, goes on. */
import test from 'ava';
import type { ContainerState } from '../../../src/container/spec.js';
import { uuid, world } from './world.js';

const image = '0a0b6f0e-3b3c-4c64-a0d5-7f6c0c2f0a11';

for (const [state, step] of [['paused', 'containers.unpause'], ['suspended', 'containers.resume'], ['stopped', 'containers.startContainer']] as readonly (readonly [ContainerState, string])[]) {
  test(`${state}: ${step}, and only then its image goes`, async (t) => {
    const w = await world({ shelvedOffloadTime: -1 });
    await w.boot();
    w.containers.made.get(uuid)!.state = state;
    const row = w.nova.row(uuid);
    Object.assign(row, { vm_state: 'shelved', task_state: 'powering-on', system_metadata: { shelved_at: '2026-11-22T02:03:00', shelved_image_id: image, shelved_host: 'fake2' } });
    w.steps.clear();
    await w.send('start_instance', { instance: w.instance() });
    const done = w.steps.of('containers.unpause', 'containers.resume', 'containers.startContainer', `glance.deleteImage ${image}`);
    t.deepEqual(done, [step, `glance.deleteImage ${image}`]);
    t.deepEqual([row['vm_state'], row['task_state'], w.containers.made.get(uuid)?.state], ['active', null, 'running']);
  });
}
