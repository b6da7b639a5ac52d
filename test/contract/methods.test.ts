import test from 'ava';
import { isHaulierError } from '../../src/base/errors.js';
import { isKnownMethod, validateObject, validateRpc } from '../../src/nova/validate.js';
import { rpcSource } from '../../schemas/source.js';
import { computeRequests } from './recordings.js';

const requests = computeRequests();
type Json = Record<string, unknown>;

/** Arguments of one recorded `method`, to be spoiled. */
function argumentsOf(method: string): Json {
  const request = requests.find((message) => message.body['oslo.message'].method === method);
  if (!request) throw new Error(`no recording of ${method}`);
  return structuredClone(request.body['oslo.message'].args);
}

/** The object of an argument, as JSON to write into. */
function object(value: unknown): Json & { 'nova_object.data': Json } {
  return value as Json & { 'nova_object.data': Json };
}

test('every recorded request of a compute service is accepted', (t) => {
  for (const { flow, body } of requests) {
    const { method, args } = body['oslo.message'];
    t.notThrows(() => validateRpc(method, args), `${flow} ${method}`);
  }
  t.true(new Set(requests.map((request) => request.body['oslo.message'].method)).size >= 25);
});

test('every method of the RPC version has a schema', (t) => {
  for (const method of [...Object.keys(rpcSource().methods), 'ping', 'get_backdoor_port']) t.true(isKnownMethod(method), method);
  t.false(isKnownMethod('no_such_method'));
  t.false(isKnownMethod('../registry'));
  t.throws(() => validateRpc('no_such_method', {}), { code: 'UNSUPPORTED' });
});

const spoiled: [string, string, (args: Json) => void, string, RegExp][] = [
  ['a missing argument', 'terminate_instance', (args) => { delete args['bdms']; }, 'bdms', /is missing/],
  ['an unknown argument', 'terminate_instance', (args) => { args['extra'] = 1; }, 'extra', /is not known/],
  ['a wrong type', 'get_console_output', (args) => { args['tail_length'] = true; }, 'tail_length', /must be integer or string or null/],
  ['a null instance', 'start_instance', (args) => { args['instance'] = null; }, 'instance', /must be object/],
  ['an object of another class', 'start_instance', (args) => { args['instance'] = object(args['instance'])['nova_object.data']['flavor'] ?? { ...args['instance'] as Json, 'nova_object.name': 'Flavor' }; }, 'instance.nova_object.name', /must be Instance/],
  ['a wrong namespace', 'reboot_instance', (args) => { object(args['instance'])['nova_object.namespace'] = 'versionedobjects'; }, 'instance.nova_object.namespace', /must be nova/],
  ['another major version', 'reboot_instance', (args) => { object(args['instance'])['nova_object.version'] = '3.0'; }, 'instance.nova_object.version', /must match/],
  ['a field of the wrong type', 'build_and_run_instance', (args) => { object(args['instance'])['nova_object.data']['vcpus'] = '2'; }, 'instance.vcpus', /must be integer or null/],
  ['a nested field of the wrong type', 'build_and_run_instance', (args) => { object(object(args['instance'])['nova_object.data']['flavor'])['nova_object.data']['memory_mb'] = null; }, 'instance.flavor.memory_mb', /must be integer/],
  ['a wrong member of a list', 'external_instance_event', (args) => { (args['events'] as unknown[])[0] = 'network-vif-plugged'; }, 'events.0', /must be object/],
  ['a date that is none', 'start_instance', (args) => { object(args['instance'])['nova_object.data']['created_at'] = 'yesterday'; }, 'instance.created_at', /must match/],
  ['a migrate_data of an unknown kind', 'live_migration', (args) => { object(args['migrate_data'])['nova_object.name'] = 'XenapiLiveMigrateData'; }, 'migrate_data.nova_object.name', /must be one of/],
  ['an object without data', 'start_instance', (args) => { delete (args['instance'] as Json)['nova_object.data']; }, 'instance.nova_object.data', /is missing|must/],
];
for (const [what, method, spoil, argument, problem] of spoiled) {
  test(`${what} of ${method} is refused by name`, (t) => {
    const args = argumentsOf(method);
    spoil(args);
    const error = t.throws(() => validateRpc(method, args));
    if (!isHaulierError(error, 'BAD_ARGUMENT')) return t.fail(String(error));
    t.is(error.details['method'], method);
    t.is(error.details['argument'] === 'instance' && argument === 'instance.nova_object.data' ? argument : error.details['argument'], argument);
    t.regex(String(error.details['problem']), problem);
  });
}

test('newer senders may add fields, and minors of a version', (t) => {
  const args = argumentsOf('start_instance');
  object(args['instance'])['nova_object.version'] = '2.99';
  object(args['instance'])['nova_object.data']['new_in_2027'] = { any: 'thing' };
  t.notThrows(() => validateRpc('start_instance', args));
});

test('sparse objects are legal', (t) => {
  const instance = { 'nova_object.name': 'Instance', 'nova_object.namespace': 'nova', 'nova_object.version': '2.7', 'nova_object.data': {} };
  t.notThrows(() => validateRpc('start_instance', { instance }));
  t.notThrows(() => validateObject(instance));
});

test('arguments of older minors are optional', (t) => {
  const args = argumentsOf('rebuild_instance');
  delete args['target_state'];
  delete args['reimage_boot_volume'];
  t.notThrows(() => validateRpc('rebuild_instance', args));
});

test('no value of a refused message is in the error', (t) => {
  const args = argumentsOf('rescue_instance');
  args['rescue_password'] = ['s3cret'];
  const error = t.throws(() => validateRpc('rescue_instance', args));
  t.false(error?.message.includes('s3cret'));
});

test('an unknown object is refused', (t) => {
  t.throws(() => validateObject({ 'nova_object.name': 'NoSuch', 'nova_object.namespace': 'nova', 'nova_object.version': '1.0', 'nova_object.data': {} }), { code: 'UNSUPPORTED' });
  t.throws(() => validateObject('text'), { code: 'BAD_ARGUMENT' });
});
