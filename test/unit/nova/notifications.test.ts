import test from 'ava';
import { HaulierError } from '../../../src/base/errors.js';
import { silentLog } from '../../../src/base/log.js';
import type { Notification, Notify } from '../../../src/messaging/notify.js';
import { Instance } from '../../../src/nova/instance.js';
import { legacyEventType } from '../../../src/nova/notification-legacy.js';
import { Notifier, type NotificationSettings } from '../../../src/nova/notifications.js';
import { NovaObject, type Primitive } from '../../../src/nova/object.js';

const context = { request_id: 'req-1', user_id: 'u', project_id: 'p' };
const vif = { id: 'port', address: 'fa:16:3e:00:00:01', devname: 'tapport', meta: {}, network: { label: 'net', subnets: [{ ips: [{ address: '10.0.0.5', version: 4, type: 'fixed', meta: {}, floating_ips: [] }] }] } };

function object(name: string, fields: Record<string, unknown>): NovaObject {
  const made = new NovaObject(name, '1.0');
  for (const [field, value] of Object.entries(fields)) made.load(field, value);
  return made;
}

function server(): Instance {
  return new Instance(object('Instance', {
    id: 42, uuid: 'i', project_id: 'p', user_id: 'u', image_ref: 'img', vm_state: 'active', task_state: null, power_state: 1, progress: 0, created_at: '2026-11-22T01:19:31Z', launched_at: '2026-11-22T01:20:00Z',
    system_metadata: { image_os: 'linux' }, metadata: { a: 'b' }, flavor: object('Flavor', { name: 'm1', flavorid: 'f', vcpus: 1, memory_mb: 64, root_gb: 1, ephemeral_gb: 2 }),
    info_cache: object('InstanceInfoCache', { network_info: JSON.stringify([vif]) }),
  }));
}

function notifier(format: NotificationSettings['format'], notify?: Notify): { sent: Notification[]; emit: Notifier['emit'] } {
  const sent: Notification[] = [];
  const made = new Notifier(notify ?? ((notification) => { sent.push(notification); return Promise.resolve(); }), { host: 'h', format, topics: ['notifications'], versionedTopics: ['versioned_notifications'] }, silentLog());
  return { sent, emit: made.emit.bind(made) };
}

test('unversioned', async (t) => {
  const { sent, emit } = notifier('unversioned');
  await emit(context, server(), 'create', 'end', { legacy: { message: 'Success' }, network: true });
  t.is(sent.length, 1);
  t.like(sent[0], { topic: 'notifications', publisherId: 'compute.h', eventType: 'compute.instance.create.end', priority: 'INFO' });
  t.like(sent[0]?.payload as object, {
    instance_id: 'i', tenant_id: 'p', instance_type: 'm1', disk_gb: 3, created_at: '2026-11-22 01:19:31+00:00', launched_at: '2026-11-22T01:20:00.000000', deleted_at: '', progress: '',
    image_ref_url: 'img', image_meta: { os: 'linux' }, metadata: { a: 'b' }, state: 'active', state_description: '', message: 'Success',
  });
  t.like((sent[0]?.payload as { fixed_ips: object[] }).fixed_ips[0], { address: '10.0.0.5', label: 'net', vif_mac: 'fa:16:3e:00:00:01' });
});

test('versioned', async (t) => {
  const { sent, emit } = notifier('versioned');
  await emit(context, server(), 'power_off', 'end');
  await emit(context, server(), 'create', 'error', { error: new HaulierError('DISK_FULL', { path: '/', reason: 'r' }) });
  const [power, create] = sent.map((notification) => notification.payload as unknown as Primitive);
  t.like(sent[0], { topic: 'versioned_notifications', publisherId: 'nova-compute:h', eventType: 'instance.power_off.end', priority: 'INFO' });
  t.like(power, { 'nova_object.name': 'InstanceActionPayload', 'nova_object.version': '1.8' });
  t.like(power?.['nova_object.data'], { uuid: 'i', power_state: 'running', request_id: 'req-1', fault: null, auto_disk_config: 'MANUAL', image_uuid: 'img' });
  t.false(JSON.stringify(power).includes('nova_object.changes'));
  t.like(sent[1], { eventType: 'instance.create.error', priority: 'ERROR' });
  t.like(create, { 'nova_object.name': 'InstanceCreatePayload', 'nova_object.version': '1.12' });
  t.like(create?.['nova_object.data'], { instance_name: 'instance-0000002a', tags: [], keypairs: [] });
  t.like((create?.['nova_object.data']['fault'] as Primitive)['nova_object.data'], { exception: 'DISK_FULL', exception_message: 'No space left on /: r' });
});

test('names that the old list does not have are not sent', async (t) => {
  t.is(legacyEventType('resize_finish', 'start'), 'compute.instance.finish_resize.start');
  t.is(legacyEventType('live_migration_post', 'end'), 'compute.instance.live_migration._post.end');
  t.is(legacyEventType('interface_attach', 'start'), undefined);
  t.is(legacyEventType('pause', 'error'), undefined);
  const { sent, emit } = notifier('both');
  await emit(context, server(), 'interface_attach', 'start');
  t.deepEqual(sent.map((notification) => notification.topic), ['versioned_notifications']);
});

test('off without a driver, and a failing one is no error', async (t) => {
  await t.notThrowsAsync(new Notifier(undefined, { host: 'h', format: 'both', topics: [], versionedTopics: [] }, silentLog()).emit(context, server(), 'delete', 'start'));
  const { emit } = notifier('both', () => Promise.reject(new Error('broker away')));
  await t.notThrowsAsync(emit(context, server(), 'delete', 'start'));
});
