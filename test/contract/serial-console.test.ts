/** The token of a serial console is asked for, and given on, as the real nova-compute did. */
import test from 'ava';
import type { Primitive } from '../../src/nova/object.js';
import { settings, uuid, world } from '../unit/compute/world.js';
import { normal, recordings } from './recordings.js';

test('get_serial_console', async (t) => {
  const flow = recordings().filter((message) => message.flow === 'serial-console').map((message) => message.body['oslo.message']);
  const asked = flow.find((message) => message.method === 'get_serial_console')!;
  const authorized = flow.find((message) => message.method === 'object_action' && message.args['objmethod'] === 'authorize')!;
  const answered = flow.find((message) => message._msg_id === asked._msg_id && message.result !== undefined)!.result as Record<string, unknown>;
  const recorded = authorized.args['objinst'] as Primitive;
  const { host, port } = recorded['nova_object.data'] as { host: string; port: number };

  const w = await world({ serialBaseUrl: String(recorded['nova_object.data']['access_url_base']), consoleTokenTtl: settings.consoleTokenTtl });
  await w.boot();
  w.containers.serial = { address: host, port: async () => port, admit: () => undefined };
  const calls: Record<string, unknown>[] = [];
  const call = w.nova.call.bind(w.nova);
  w.nova.call = (target, method, args, context) => {
    if (args['objmethod'] === 'authorize') calls.push(structuredClone(args));
    return call(target, method, args, context);
  };
  const result = (await w.send('get_serial_console', { ...asked.args, instance: w.instance() })) as Record<string, unknown>;

  // the fake driver of the recording makes a path up; that of a serial console is null (nova/virt/libvirt/driver.py get_serial_console)
  const expected = structuredClone(authorized.args) as { objinst: Primitive };
  expected.objinst['nova_object.data']['internal_access_path'] = null;
  t.deepEqual(calls.map(normal), [normal(expected)]);
  t.is((recorded['nova_object.data'] as { instance_uuid: string }).instance_uuid, uuid);
  t.deepEqual(Object.keys(result).sort(), Object.keys(answered).sort());
  t.is(result['access_url'], String(answered['access_url']).replace('<token>', 'the-token'));
  t.deepEqual([result['host'], result['port'], result['token']], [answered['host'], answered['port'], 'the-token']);
});
