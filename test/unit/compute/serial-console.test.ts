/** Serial consoles as Nova's manager answers them. */
import test from 'ava';
import { isHaulierError } from '../../../src/base/errors.js';
import type { SerialDoor } from '../../../src/container/serial-consoles.js';
import { RemoteFailure } from '../../../src/messaging/types.js';
import { uuid, world, type World } from './world.js';

async function offered(): Promise<{ w: World; admitted: string[] }> {
  const w = await world();
  const admitted: string[] = [];
  w.containers.serial = { address: '192.0.2.9', port: async () => 10_007, admit: (id) => void admitted.push(id) } satisfies SerialDoor;
  await w.boot();
  return { w, admitted };
}

const code = (error: unknown): string => (isHaulierError(error) ? `${error.code} ${error.nova.class}` : error instanceof RemoteFailure ? error.className : String(error));
const failure = async (work: Promise<unknown>): Promise<string> => work.then(() => 'none', code);

test('a console is a port of this host and a token of the conductor', async (t) => {
  const { w, admitted } = await offered();
  t.deepEqual(await w.send('get_serial_console', { instance: w.instance(), console_type: 'serial' }), {
    host: '192.0.2.9', port: 10_007, internal_access_path: null, token: 'the-token', access_url: 'ws://127.0.0.1:6083/?token=the-token',
  });
  t.deepEqual(admitted, [], 'a token alone opens nothing');
});

test('the proxy is let in for the right port only', async (t) => {
  const { w, admitted } = await offered();
  const ask = (port: string, type = 'serial'): Promise<unknown> => w.send('validate_console_port', { instance: w.instance(), port, console_type: type });
  t.false(await ask('10008'));
  t.deepEqual(admitted, []);
  t.true(await ask('10007'));
  t.deepEqual(admitted, [uuid]);
  t.is(await failure(ask('10007', 'novnc')), 'CONSOLE_TYPE_UNAVAILABLE ConsoleTypeUnavailable');
});

test('where there is none, and of a server that does not run, it is unavailable', async (t) => {
  const { w } = await offered();
  const ask = (): Promise<unknown> => w.send('get_serial_console', { instance: w.instance(), console_type: 'serial' });
  w.containers.made.get(uuid)!.state = 'stopped';
  t.is(await failure(ask()), 'CONSOLE_TYPE_UNAVAILABLE ConsoleTypeUnavailable');
  w.containers.made.get(uuid)!.state = 'running';
  w.containers.serial = undefined;
  t.is(await failure(ask()), 'CONSOLE_TYPE_UNAVAILABLE ConsoleTypeUnavailable');
});

test('a server without a container is not ready while it is built, and else not found', async (t) => {
  const { w } = await offered();
  w.containers.made.clear();
  t.is(await failure(w.send('get_serial_console', { instance: w.instance({ vm_state: 'building' }), console_type: 'serial' })), 'INSTANCE_NOT_READY InstanceNotReady');
  t.is(await failure(w.send('get_serial_console', { instance: w.instance(), console_type: 'serial' })), 'INSTANCE_NOT_FOUND InstanceNotFound');
});
