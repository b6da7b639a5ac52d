/** rebuild over the fakes: what is known to be wrong with the new image, or with anything else that is asked first, leaves the old guest as it was. */
import test from 'ava';
import { HaulierError } from '../../../src/base/errors.js';
import type { ComputeSettings } from '../../../src/compute/settings.js';
import { messages, uuid, world, type World } from './world.js';

const recorded = messages('rebuild').find((message) => message.method === 'rebuild_instance' && 'accel_uuids' in message.args)!;
const newImage = '0a0b6f0e-3b3c-4c64-a0d5-7f6c0c2f0a11';

/** The API has taken a rebuild of the booted server, and written the new image into its record. */
async function asked(change: Partial<ComputeSettings> = {}): Promise<{ readonly w: World; readonly rebuild: () => Promise<unknown> }> {
  const w = await world(change);
  await w.boot();
  w.glance.records.push({ id: newImage, name: null, status: 'active', size: 1, min_disk: 0, min_ram: 0, disk_format: 'raw', container_format: 'bare', checksum: null, os_hash_algo: null, os_hash_value: null, properties: {} });
  const row = w.nova.row(uuid);
  const before = row['image_ref'];
  Object.assign(row, { task_state: 'rebuilding', image_ref: newImage });
  w.steps.clear();
  return { w, rebuild: () => w.send('rebuild_instance', { ...structuredClone(recorded.args), instance: w.instance(), image_ref: newImage, orig_image_ref: before, recreate: false }) };
}

const touching = (w: World): string[] => w.steps.of('containers.stopContainer', 'containers.destroy', 'containers.create', 'containers.startContainer');

test('nothing of the old guest is touched before the new one is known to be good', async (t) => {
  const { w, rebuild } = await asked();
  await rebuild();
  t.deepEqual(w.steps.of('containers.ensureImage', 'containers.check', 'containers.stopContainer', 'containers.destroy', 'containers.create', 'containers.run'),
    ['containers.ensureImage', 'containers.check', 'containers.stopContainer', 'containers.destroy', 'containers.create', 'containers.run']);
  t.deepEqual([w.nova.row(uuid)['vm_state'], w.nova.row(uuid)['image_ref'], w.containers.made.get(uuid)?.spec.imageId, w.containers.made.get(uuid)?.spec.vifs.length], ['active', newImage, newImage, 1]);
});

for (const [step, error] of [
  [`glance.image ${newImage}`, new HaulierError('IMAGE_NOT_FOUND', { image: newImage })],
  ['containers.ensureImage', new HaulierError('IMAGE_UNACCEPTABLE', { image: newImage, reason: 'its bytes are damaged' })],
  ['containers.ensureImage', new HaulierError('MEMORY_IMAGE_REFUSED', { image: newImage, reason: 'altered' })],
  ['neutron.ports', new HaulierError('REST_UNREACHABLE', { service: 'neutron', reason: 'gone' })],
  ['containers.check', new HaulierError('MEMORY_IMAGE_MISFIT', { image: newImage, reason: 'another CPU' })],
  ['containers.check', new HaulierError('IMAGE_TOO_LARGE', { image: newImage, reason: 'its processes take 200 MiB of memory' })],
] as const) {
  test(`${error.code} at ${step}: the old guest runs on, and the user is told`, async (t) => {
    const { w, rebuild } = await asked();
    const before = structuredClone(w.containers.made.get(uuid)!.spec);
    w.steps.fail(step, error);
    await t.throwsAsync(rebuild(), { code: error.code });
    t.deepEqual(touching(w), []);
    const row = w.nova.row(uuid);
    t.deepEqual([row['vm_state'], row['task_state'], row['image_ref']], ['active', null, before.imageId]);
    t.deepEqual(w.containers.made.get(uuid), { state: 'running', spec: before });
    t.regex(JSON.stringify(w.nova.faults.at(-1)), new RegExp(error.message.slice(0, 40).replace(/[^\w ]/g, '.')));
  });
}

for (const [what, cloudInit, drive, refused] of [['an image with cloud-init', true, '', true], ['a server with a config drive', false, 'True', true], ['a server that gets no drive', false, '', false]] as const) {
  test(`bad vendor data: ${what} ${refused ? 'is refused before anything is destroyed' : 'does not need it'}`, async (t) => {
    const { w, rebuild } = await asked({ vendorData: { providers: ['StaticJSON'], file: '/nowhere/vendor.json', targets: [], failureFatal: false } });
    w.containers.cloudInit = cloudInit;
    w.nova.row(uuid)['config_drive'] = drive;
    const before = structuredClone(w.containers.made.get(uuid)!.spec);
    if (!refused) {
      await rebuild();
      t.is(w.containers.made.get(uuid)?.spec.imageId, newImage);
      return;
    }
    await t.throwsAsync(rebuild(), { code: 'CONFIG_INVALID' });
    t.deepEqual(touching(w), []);
    t.deepEqual([w.containers.made.get(uuid), w.nova.row(uuid)['vm_state'], w.nova.row(uuid)['task_state'], w.nova.row(uuid)['image_ref']], [{ state: 'running', spec: before }, 'active', null, before.imageId]);
  });
}

test('a failure after the old guest ended is an error of the server', async (t) => {
  const { w, rebuild } = await asked();
  w.steps.fail('containers.create', new HaulierError('DISK_FULL', { path: '/x', reason: 'full' }));
  await t.throwsAsync(rebuild(), { code: 'DISK_FULL' });
  t.deepEqual([w.nova.row(uuid)['vm_state'], w.nova.row(uuid)['task_state']], ['error', null]);
});
