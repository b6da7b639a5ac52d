import test from 'ava';
import { Instance, networkInfoOf } from '../../../src/nova/instance.js';
import { NovaObject } from '../../../src/nova/object.js';

function server(fields: Record<string, unknown>, version = '2.8'): Instance {
  const object = new NovaObject('Instance', version);
  for (const [field, value] of Object.entries({ uuid: 'b8b5a1d0-0000-4000-8000-000000000001', ...fields })) object.load(field, value);
  return new Instance(object);
}

test('names', (t) => {
  t.is(server({ id: 42 }).name, 'instance-0000002a');
  t.is(server({}).name, 'b8b5a1d0-0000-4000-8000-000000000001');
  const named = (template: string): string => new Instance(server({ id: 7, hostname: 'web' }).object, template).name;
  t.is(named('ct-%d'), 'ct-7');
  t.is(named('%(hostname)s-%(id)04x%%'), 'web-0007%');
  t.is(named('fixed'), 'fixed');
  t.is(named('%(nothing)s'), 'b8b5a1d0-0000-4000-8000-000000000001');
});

test('states are set as changes, no task is null', (t) => {
  const instance = server({ vm_state: 'building', task_state: 'spawning', power_state: 0 });
  instance.vmState = 'active';
  instance.taskState = undefined;
  instance.powerState = 1;
  t.deepEqual([instance.vmState, instance.taskState, instance.powerState], ['active', undefined, 1]);
  t.is(instance.object.get('task_state'), null);
  t.deepEqual([...instance.object.whatChanged()].sort(), ['power_state', 'task_state', 'vm_state']);
});

test('host, node and compute_id change together', (t) => {
  const instance = server({});
  instance.place({ host: 'h', node: 'n', computeId: 3 });
  t.deepEqual([instance.host, instance.node, instance.computeId], ['h', 'n', 3]);
  instance.place(undefined);
  t.is(instance.object.get('compute_id'), null);
  const old = server({}, '2.7');
  old.place({ host: 'h', node: 'n', computeId: 3 });
  t.false(old.object.has('compute_id'));
});

test('system metadata is replaced whole, and only if it was loaded', (t) => {
  const instance = server({ system_metadata: { image_os: 'linux', boot_roles: 'a', gone: 'x' } });
  instance.setSystemMetadata({ boot_roles: 'a' });
  t.false(instance.object.isChanged());
  instance.setSystemMetadata({ boot_roles: 'b', gone: undefined, __proto__x: 'y' });
  t.deepEqual(instance.systemMetadata, { image_os: 'linux', boot_roles: 'b', __proto__x: 'y' });
  t.deepEqual(instance.imageProperties, { os: 'linux' });
  t.throws(() => server({}).setSystemMetadata({ a: 'b' }), { code: 'BAD_ARGUMENT' });
});

test('what a message did not carry is undefined', (t) => {
  const instance = server({ image_ref: '', config_drive: 'True', info_cache: null });
  t.deepEqual([instance.flavor, instance.networkInfo, instance.imageRef, instance.hasConfigDrive], [undefined, undefined, undefined, true]);
  t.deepEqual(instance.metadata, {});
  t.throws(() => new Instance(new NovaObject('Flavor', '1.2')), { code: 'BAD_ARGUMENT' });
  t.throws(() => new Instance(new NovaObject('Instance', '2.8')), { code: 'BAD_ARGUMENT' });
});

test('network info', (t) => {
  const cache = new NovaObject('InstanceInfoCache', '1.5');
  t.deepEqual(networkInfoOf(cache), []);
  cache.load('network_info', '[{"id":"p"}]');
  t.is(networkInfoOf(cache)[0]?.id, 'p');
  const instance = server({ info_cache: cache });
  instance.loadNetworkInfo([]);
  t.deepEqual(instance.networkInfo, []);
  t.false(instance.object.isChanged());
  for (const wrong of ['{', '{}']) {
    cache.load('network_info', wrong);
    t.throws(() => networkInfoOf(cache), { code: 'BAD_ARGUMENT' });
  }
});

test('flavor', (t) => {
  const flavor = new NovaObject('Flavor', '1.2');
  for (const [field, value] of Object.entries({ id: 1, flavorid: 'f', name: 'm1', vcpus: 2, memory_mb: 512, root_gb: 10, ephemeral_gb: 0, swap: 64, extra_specs: { 'hw:x': '1' } })) flavor.load(field, value);
  t.like(server({ flavor }).flavor, { vcpus: 2, memoryMb: 512, swapMb: 64, rxtxFactor: 1, extraSpecs: { 'hw:x': '1' } });
});
