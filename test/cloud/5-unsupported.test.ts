/** What Haulier does not do yet: the API answers cleanly, and the server runs on untouched. Rows go away as methods arrive. */
import test from 'ava';
import { methodTable } from '../../src/compute/method-table.js';
import { container } from './lib/host.js';
import { until } from './lib/machine.js';
import { Scene } from './lib/scene.js';

interface Attempt {
  /** RPC method; done in the table: the attempt is skipped. */
  readonly method: string;
  readonly body: (scene: Scene) => Promise<Record<string, unknown>>;
  /** Below the server's URL. */
  readonly path?: string;
  /** The API's answer. */
  readonly status: number;
  /** The action that must end with an error; undefined: the answer said it all. */
  readonly action?: string;
}

const plain = (body: Record<string, unknown>) => async (): Promise<Record<string, unknown>> => body;

const attempts: readonly Attempt[] = [
  { method: 'live_migration', body: plain({ 'os-migrateLive': { host: null, block_migration: 'auto' } }), status: 202, action: 'live-migration' },
  { method: 'trigger_crash_dump', body: plain({ trigger_crash_dump: null }), status: 202, action: 'trigger_crash_dump' },
  { method: 'set_admin_password', body: plain({ changePassword: { adminPass: 'secret' } }), status: 409 },
  { method: 'get_serial_console', path: '/remote-consoles', body: plain({ remote_console: { protocol: 'serial', type: 'serial' } }), status: 400 },
  { method: 'get_vnc_console', path: '/remote-consoles', body: plain({ remote_console: { protocol: 'vnc', type: 'novnc' } }), status: 400 },
  { method: 'get_spice_console', path: '/remote-consoles', body: plain({ remote_console: { protocol: 'spice', type: 'spice-html5' } }), status: 400 },
];

test.serial('a refused action leaves the server running, without a task, with its allocation', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host2' });
  const before = (await container('host2', server.id))!.pid;
  const allocation = await scene.allocation(server.id);
  for (const attempt of attempts) {
    const what = attempt.action ?? attempt.method;
    if (methodTable[attempt.method]?.does.state === 'done') {
      t.log(`${attempt.method} is done: not tried`);
      continue;
    }
    const answer = await scene.admin.raw('nova', 'POST', `/v2.1/servers/${server.id}${attempt.path ?? '/action'}`, await attempt.body(scene));
    t.is(answer.status, attempt.status, `${what}: ${answer.text}`);
    if (attempt.action && answer.status < 300) {
      const action = await until(`${what} ends`, 30, async () => {
        const seen = await scene.action(server.id, attempt.action!).catch(() => undefined);
        return seen && seen.events.length > 0 && seen.events.every((event) => event.result !== null) && seen.message === 'Error' ? seen : undefined;
      }, () => scene.action(server.id, attempt.action!));
      t.true(action.events.some((event) => event.result === 'Error'), what);
    }
    const after = await scene.reach(server.id, 'ACTIVE', 20).catch((error: unknown) => { t.fail(`${what}: ${String(error)}`); });
    t.is(after?.['OS-EXT-STS:vm_state'], 'active', what);
    await until(`${what}: the allocation is as before`, 5, async () => JSON.stringify(await scene.allocation(server.id)) === JSON.stringify(allocation), () => scene.allocation(server.id));
    t.is((await container('host2', server.id))?.pid, before, `${what}: the container was not touched`);
  }
  const { images } = await scene.admin.call<{ images: { name: string; status: string }[] }>('glance', 'GET', '/v2/images?owner=' + scene.admin.projectId);
  t.deepEqual(images.filter((image) => /snapshot|backup|shelved/.test(image.name)), [], 'no image without bytes is left');
  const { migrations } = await scene.admin.call<{ migrations: { status: string }[] }>('nova', 'GET', `/v2.1/os-migrations?instance_uuid=${server.id}`);
  t.deepEqual(migrations.filter((migration) => !['error', 'failed'].includes(migration.status)), []);
  t.deepEqual(await scene.silent(server), []);
  await scene.delete(server.id);
  await scene.nothingLeft();
});

test.serial('a volume cannot be attached where there is no cinder', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host2' });
  const answer = await scene.admin.raw('nova', 'POST', `/v2.1/servers/${server.id}/os-volume_attachments`, { volumeAttachment: { volumeId: '00000000-0000-4000-8000-000000000000' } });
  t.true(answer.status >= 400);
  t.is((await scene.reach(server.id, 'ACTIVE')).status, 'ACTIVE');
});
