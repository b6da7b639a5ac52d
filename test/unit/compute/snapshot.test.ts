/** snapshot, backup and rebuild against small fakes of the rooms below: the states in their order, and what every failure leaves. */
import { Readable } from 'node:stream';
import test from 'ava';
import { HaulierError } from '../../../src/base/errors.js';
import { KeyedLock, Semaphore } from '../../../src/base/lock.js';
import { silentLog } from '../../../src/base/log.js';
import { Operation } from '../../../src/base/operation.js';
import type { Compute, InstanceCall } from '../../../src/compute/compute.js';
import { snapshotProperties } from '../../../src/compute/disk-snapshot.js';
import { rebuildInstance } from '../../../src/compute/methods/rebuild.js';
import { backupInstance, snapshotInstance } from '../../../src/compute/methods/snapshot.js';
import { NovaObject } from '../../../src/nova/object.js';
import type { SaveExpectation } from '../../../src/nova/types.js';
import { failure } from '../nova/fake-rpc.js';

const uuid = '56cab1b6-6fb9-447f-9482-9f3e2e18a7e3';
const imageId = '51180a4d-a1c9-4ac1-bc0d-449cf32612da';

interface World {
  readonly compute: Compute;
  readonly call: (args?: Record<string, unknown>) => InstanceCall;
  /** What was done, in order. */
  readonly done: string[];
  /** Fails at the step of this name. */
  failAt: string;
  failWith: unknown;
}

function world(): World {
  const done: string[] = [];
  const step = async (name: string): Promise<void> => {
    if (self.failAt === name) throw self.failWith;
    done.push(name);
  };
  const instance = new NovaObject('Instance', '2.8');
  for (const [field, value] of Object.entries({ uuid, project_id: 'p', task_state: 'image_snapshot_pending', vm_state: 'active', system_metadata: {}, image_ref: 'new' })) instance.load(field, value);
  const compute = {
    settings: { host: 'h', shutdownTimeout: 1 }, log: silentLog(), node: { uuid: 'node' },
    locks: new KeyedLock(), snapshots: new Semaphore(1),
    notifier: { instance: () => undefined, scheduler: () => undefined }, tracker: { update: () => undefined },
    conductor: { saveInstance: (_: unknown, saved: NovaObject, expected?: SaveExpectation) => step(`save ${String(saved.get('task_state'))}${expected?.taskState ? ` after ${expected.taskState.join()}` : ''}`) },
    placement: { removeProviderFromAllocations: (consumer: string, provider: string) => step(`allocation ${consumer === uuid} ${provider}`) },
    containers: {
      view: async () => ({ state: 'running' }),
      spec: async () => undefined,
      snapshot: async () => {
        await step(`snapshot ${compute.locks.held(uuid)}`);
        return { stream: Readable.from([Buffer.from('tar')]), expectedBytes: 3, frozenMs: 1, end: () => step('end') };
      },
    },
    glance: {
      image: async () => ({ status: self.failAt === 'active' ? 'active' : 'saving' }),
      updateImage: () => step('describe'),
      upload: (_: unknown, id: string) => step(`upload ${id === imageId} locked ${compute.locks.held(uuid)}`),
      deleteImage: (_: unknown, id: string) => step(`delete ${id === imageId ? 'image' : id}`),
      images: async (_: unknown, filters: unknown) => {
        done.push(JSON.stringify(filters));
        return [{ id: 'newest' }, { id: 'middle' }, { id: 'oldest' }];
      },
    },
  } as unknown as Compute;
  const self: World = {
    compute, done, failAt: '', failWith: undefined,
    call: (args = {}) => ({ method: 'snapshot_instance', context: {}, args: { image_id: imageId, ...args }, operation: new Operation({ name: 'test', log: silentLog() }), instance, uuid }),
  };
  return self;
}

const snapshotSteps = [
  'save image_snapshot after image_snapshot_pending', 'snapshot true', 'save image_pending_upload after image_snapshot', 'describe',
  'save image_uploading after image_pending_upload', 'upload true locked false', 'end', 'save null after image_uploading',
];

test('snapshot: the states in their order, the lock only for the copy', async (t) => {
  const { compute, call, done } = world();
  await snapshotInstance(compute, call());
  t.deepEqual(done, snapshotSteps);
});

for (const name of snapshotSteps.filter((step) => step !== 'end')) {
  test(`snapshot: a failure at "${name}" deletes the image and the copy, and is told`, async (t) => {
    const it = world();
    it.failAt = name;
    it.failWith = new HaulierError('REST_UNREACHABLE', { service: 'glance', reason: 'gone' });
    await t.throwsAsync(snapshotInstance(it.compute, it.call()), { code: 'REST_UNREACHABLE' });
    t.true(it.done.includes('delete image'));
    t.is(it.done.includes('end'), it.done.includes('snapshot true'));
  });
  test(`snapshot: a server deleted at "${name}" is no failure`, async (t) => {
    const it = world();
    it.failAt = name;
    it.failWith = name.startsWith('save') ? failure('UnexpectedDeletingTaskStateError') : new HaulierError('CANCELLED', { what: 'x', reason: 'y', by: 'delete' });
    await snapshotInstance(it.compute, it.call());
    t.true(it.done.includes('delete image'));
    t.is(it.done.includes('end'), it.done.includes('snapshot true'));
  });
}

test('snapshot: an image that somebody deleted meanwhile clears the task', async (t) => {
  const it = world();
  it.failAt = 'upload true locked false';
  it.failWith = new HaulierError('IMAGE_NOT_FOUND', { image: imageId });
  await snapshotInstance(it.compute, it.call());
  t.deepEqual(it.done.slice(-2), ['end', 'save null']);
});

test('backup: the oldest go after the new one is whole', async (t) => {
  const it = world();
  await backupInstance(it.compute, it.call({ backup_type: 'daily', rotation: 1 }));
  t.deepEqual(it.done.slice(0, 2), ['snapshot true', 'save image_pending_upload after image_backup']);
  t.deepEqual(it.done.slice(-3), [JSON.stringify({ image_type: 'backup', backup_type: 'daily', instance_uuid: uuid }), 'delete middle', 'delete oldest']);
  const failing = world();
  failing.failAt = 'delete middle';
  failing.failWith = new HaulierError('REST_FAILED', { status: 409 });
  await backupInstance(failing.compute, failing.call({ backup_type: 'daily', rotation: 1 }));
  t.is(failing.done.at(-1), 'delete oldest');
});

test('what the image says of itself', (t) => {
  const instance = new NovaObject('Instance', '2.8');
  for (const [field, value] of Object.entries({ project_id: 'p', kernel_id: '', ramdisk_id: null, os_type: 'linux' })) instance.load(field, value);
  t.deepEqual(snapshotProperties(instance), { disk_format: 'raw', container_format: 'bare', image_location: 'snapshot', image_state: 'available', owner_id: 'p', os_type: 'linux' });
});

test('rebuild: an evacuation is refused, and this host\'s allocation goes', async (t) => {
  const it = world();
  const error = await t.throwsAsync(rebuildInstance(it.compute, it.call({ recreate: true })), { code: 'UNSUPPORTED' });
  t.is((error as HaulierError).nova.class, 'InstanceEvacuateNotSupported');
  t.deepEqual(it.done, ['allocation true node']);
});

test('rebuild: without its image the guest is not touched, and the record says so', async (t) => {
  const it = world();
  Object.assign(it.compute.glance, { image: async () => { throw new HaulierError('IMAGE_NOT_FOUND', { image: 'new' }); } });
  const call = it.call({ image_ref: 'new', orig_image_ref: 'old', orig_sys_metadata: { image_base_image_ref: 'old' } });
  call.instance.load('info_cache', null);
  await t.throwsAsync(rebuildInstance(it.compute, call), { code: 'IMAGE_NOT_FOUND' });
  t.deepEqual([call.instance.get('image_ref'), call.instance.get('vm_state'), call.instance.get('system_metadata')], ['old', 'active', { image_base_image_ref: 'old' }]);
  t.deepEqual(it.done, []);
});
