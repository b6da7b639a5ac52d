/** snapshot, backup and rebuild against small fakes of the rooms below: the states in their order, and what every failure leaves. */
import { Readable } from 'node:stream';
import test from 'ava';
import { HaulierError } from '../../../src/base/errors.js';
import { KeyedLock, Semaphore } from '../../../src/base/lock.js';
import { silentLog } from '../../../src/base/log.js';
import { Operation } from '../../../src/base/operation.js';
import type { Compute, InstanceCall } from '../../../src/compute/compute.js';
import { snapshotProperties } from '../../../src/compute/disk-snapshot.js';
import { memoryProperties, wantsMemory } from '../../../src/compute/memory-wish.js';
import { rebuildInstance } from '../../../src/compute/methods/rebuild.js';
import { shelveInstance } from '../../../src/compute/methods/shelve.js';
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
  /** Of the container. */
  state: string;
  /** Properties of the snapshot's image. */
  image: Record<string, string>;
}

function world(): World {
  const done: string[] = [];
  const step = async (name: string): Promise<void> => {
    if (self.failAt === name) throw self.failWith;
    done.push(name);
  };
  const instance = new NovaObject('Instance', '2.8');
  for (const [field, value] of Object.entries({ uuid, project_id: 'p', task_state: 'image_snapshot_pending', vm_state: 'active', metadata: {}, system_metadata: {}, image_ref: 'new' })) instance.load(field, value);
  const compute = {
    settings: { host: 'h', shutdownTimeout: 1, shelvedOffloadTime: -1 }, log: silentLog(), node: { uuid: 'node' }, cloudNow: () => Date.now(),
    locks: new KeyedLock(), snapshots: new Semaphore(1),
    notifier: { instance: () => undefined, scheduler: () => undefined }, tracker: { update: () => undefined },
    conductor: { saveInstance: (_: unknown, saved: NovaObject, expected?: SaveExpectation) => step(`save ${String(saved.get('task_state'))}${expected?.taskState ? ` after ${expected.taskState.join()}` : ''}`) },
    placement: { removeProviderFromAllocations: (consumer: string, provider: string) => step(`allocation ${consumer === uuid} ${provider}`) },
    containers: {
      view: async () => ({ state: self.state }),
      spec: async () => ({}),
      updateVifs: async () => undefined,
      suspend: async () => {
        await step('suspend');
        self.state = 'suspended';
      },
      resume: () => step('resume'),
      stopContainer: async () => {
        await step('stop');
        self.state = 'stopped';
      },
      startContainer: () => step('start'),
      requireSnapshotKey: () => step('key'),
      snapshot: async (_: string, __: unknown, memoryFor?: string) => {
        await step(`snapshot ${compute.locks.held(uuid)}${memoryFor === imageId ? ' with memory' : ''}`);
        return { memory: memoryFor === undefined ? undefined : { format: 1, criu: '4.2.1', architecture: 'x64', memoryMiB: 20 }, stream: Readable.from([Buffer.from('tar')]), expectedBytes: 3, frozenMs: 1, end: () => step('end') };
      },
    },
    glance: {
      image: async () => ({ status: self.failAt === 'active' ? 'active' : 'saving', properties: self.image }),
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
    compute, done, failAt: '', failWith: undefined, state: 'running', image: {},
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

test('snapshot with memory: asked of the image, the server, or the boot; never without a key', async (t) => {
  const asked = world();
  asked.image = { 'haulier:memory': 'true' };
  await snapshotInstance(asked.compute, asked.call());
  t.deepEqual(asked.done.slice(1, 3), ['key', 'snapshot true with memory']);
  const refused = world();
  refused.image = asked.image;
  refused.failAt = 'key';
  refused.failWith = new HaulierError('SNAPSHOT_KEY', { reason: 'it is not set' });
  await t.throwsAsync(snapshotInstance(refused.compute, refused.call()), { code: 'SNAPSHOT_KEY', message: /option snapshot_key of \[haulier\]/ });
  t.deepEqual(refused.done.slice(1), ['delete image']);
  const words: readonly (readonly [Parameters<typeof wantsMemory>[0], boolean])[] = [
    [{ inherited: undefined, server: undefined, image: undefined }, false],
    [{ inherited: 'true', server: undefined, image: 'true' }, true],
    [{ inherited: 'true', server: 'false', image: 'true' }, false],
    [{ inherited: 'true', server: undefined, image: 'false' }, false],
    [{ inherited: undefined, server: 'True', image: undefined }, true],
    [{ inherited: undefined, server: 'false', image: 'true' }, true],
  ];
  for (const [said, wanted] of words) t.is(wantsMemory(said), wanted, JSON.stringify(said));
});

for (const [state, steps] of [['running', ['key', 'suspend', 'snapshot false with memory']], ['suspended', ['key', 'snapshot false with memory']], ['paused', ['key', 'snapshot false with memory']], ['stopped', ['key', 'snapshot false with memory']]] as const) {
  test(`shelve with memory, ${state}: nothing happens after the snapshot`, async (t) => {
    const it = world();
    it.image = { 'haulier:memory': 'true' };
    it.state = state;
    const call = it.call();
    call.instance.load('task_state', 'shelving');
    await shelveInstance(it.compute, call);
    const end = it.done.indexOf('end');
    t.deepEqual(it.done.slice(0, steps.length), steps);
    t.false(it.done.includes('stop'));
    if (state === 'paused') t.deepEqual([it.done.indexOf('suspend') > end, it.done.at(-1), it.state], [true, 'suspend', 'suspended'], 'to disk when it is on record that it is shelved');
    t.is(call.instance.get('vm_state'), 'shelved');
  });
}

test('shelve of a paused server: without memory it ends after its image is whole; a failure leaves it paused; a dump that fails after it does too', async (t) => {
  const paused = (image: Record<string, string>): { readonly it: World; readonly call: InstanceCall } => {
    const it = world();
    Object.assign(it, { image, state: 'paused' });
    const call = it.call();
    call.instance.load('task_state', 'shelving');
    return { it, call };
  };
  const whole = paused({});
  await shelveInstance(whole.it.compute, whole.call);
  t.true(whole.it.done.indexOf('stop') > whole.it.done.indexOf('end'));
  for (const image of [{}, { 'haulier:memory': 'true' }] as Record<string, string>[]) {
    const failing = paused(image);
    Object.assign(failing.it, { failAt: 'describe', failWith: new HaulierError('REST_UNREACHABLE', { service: 'glance', reason: 'gone' }) });
    await t.throwsAsync(shelveInstance(failing.it.compute, failing.call), { code: 'REST_UNREACHABLE' });
    t.deepEqual([failing.it.state, failing.it.done.at(-1)], ['paused', 'delete image']);
  }
  const undumped = paused({ 'haulier:memory': 'true' });
  Object.assign(undumped.it, { failAt: 'suspend', failWith: new HaulierError('SUSPEND_FAILED', { reason: 'no' }) });
  await shelveInstance(undumped.it.compute, undumped.call);
  t.deepEqual([undumped.it.state, undumped.call.instance.get('vm_state'), undumped.it.done.includes('delete image')], ['paused', 'shelved', false]);
});

test('shelve with memory that fails: the guest is resumed; without, it is started', async (t) => {
  for (const [image, again] of [[{ 'haulier:memory': 'true' }, 'resume'], [{}, 'start']] as const) {
    const it = world();
    it.image = image;
    it.failAt = 'describe';
    it.failWith = new HaulierError('REST_UNREACHABLE', { service: 'glance', reason: 'gone' });
    const call = it.call();
    call.instance.load('info_cache', null);
    await t.throwsAsync(shelveInstance(it.compute, call), { code: 'REST_UNREACHABLE' });
    t.deepEqual(it.done.slice(-2), ['delete image', again]);
  }
});

test('shelve of a suspended server without its memory: what is on disk goes only after the image is whole', async (t) => {
  const it = world();
  it.state = 'suspended';
  const call = it.call();
  call.instance.load('task_state', 'shelving');
  await shelveInstance(it.compute, call);
  t.true(it.done.indexOf('stop') > it.done.indexOf('end'));
  t.is(call.instance.get('vm_state'), 'shelved');
});

test('shelve whose last save fails: the image stays, and the guest does not run on past it', async (t) => {
  const it = world();
  const call = it.call();
  call.instance.load('task_state', 'shelving');
  it.failAt = 'save null after shelving,shelving_image_uploading';
  it.failWith = new HaulierError('DEADLINE', { what: 'object_action', seconds: 1 });
  await t.throwsAsync(shelveInstance(it.compute, call), { code: 'DEADLINE' });
  t.false(it.done.includes('delete image'));
  t.false(it.done.includes('start'));
});

test('what the image says of its memory', (t) => {
  const instance = new NovaObject('Instance', '2.8');
  instance.load('system_metadata', { 'image_haulier:memory': 'true', 'image_haulier:memory_format': '1', image_min_ram: '64' });
  t.deepEqual(memoryProperties(instance, true, { format: 1, criu: '4.2.1', architecture: 'x64', memoryMiB: 20 }), { 'haulier:memory': 'true', 'haulier:memory_format': '1', 'haulier:memory_criu': '4.2.1', 'haulier:memory_architecture': 'x64', min_ram: 64 });
  t.deepEqual(memoryProperties(instance, true, undefined), { 'haulier:memory_format': '', 'haulier:memory': 'false', 'haulier:memory_absent': 'the server did not run' });
  t.deepEqual(memoryProperties(instance, false, undefined), { 'haulier:memory_format': '' });
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

test('backup with memory: asked of the server, or of the image; the rotation is the same', async (t) => {
  for (const [server, image] of [[{ 'haulier:memory': 'true' }, {}], [{}, { 'haulier:memory': 'true' }]] as readonly (readonly [Record<string, string>, Record<string, string>])[]) {
    const it = world();
    it.image = image;
    const call = it.call({ backup_type: 'weekly', rotation: 1 });
    call.instance.load('metadata', server);
    await backupInstance(it.compute, call);
    t.deepEqual(it.done.slice(0, 2), ['key', 'snapshot true with memory']);
    t.deepEqual(it.done.slice(-2), ['delete middle', 'delete oldest']);
  }
  const without = world();
  without.failAt = 'key';
  without.failWith = new HaulierError('SNAPSHOT_KEY', { reason: 'it is not set' });
  without.image = { 'haulier:memory': 'true' };
  await t.throwsAsync(backupInstance(without.compute, without.call({ backup_type: 'daily', rotation: 1 })), { code: 'SNAPSHOT_KEY' });
  t.deepEqual(without.done, ['delete image'], 'no older backup goes for one that came to nothing');
});

test('what the image says of itself', (t) => {
  const instance = new NovaObject('Instance', '2.8');
  for (const [field, value] of Object.entries({ project_id: 'p', kernel_id: '', ramdisk_id: null, os_type: 'linux' })) instance.load(field, value);
  t.deepEqual(snapshotProperties(instance), { disk_format: 'raw', container_format: 'bare', image_location: 'snapshot', image_state: 'available', owner_id: 'p', os_type: 'linux' });
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
