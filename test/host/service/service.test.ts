/**
 * The real program from outside: its wall clock jumps by a day while it works; a second one of its name is started; its log is rotated and
 * read on a terminal; nothing secret is in what it says.
 */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, readdir, readFile, rename, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { silentLog } from '../../../src/base/log.js';
import { baseEndpoint } from '../../../src/compute/other-endpoints.js';
import { adminContext } from '../../../src/messaging/context.js';
import { connectMessaging, type Messaging } from '../../../src/messaging/messaging.js';
import { until } from '../container/harness.js';
import { planted, ServiceWorld, worldProblem, type Service } from './world.js';

const test = anyTest as TestFn<{ world: ServiceWorld; one: { service: Service }; messaging: Messaging }>;
const real = worldProblem === undefined ? test.serial : test.skip;
if (worldProblem !== undefined) process.stderr.write(`SKIPPED test/host/service: ${worldProblem}\n`);

const host = 'one';
const day = 86_400_000;

/** The service that all tests have. */
const begin = (world: ServiceWorld): Promise<Service> => world.service({
  host, more: ['debug = true', `log_dir = ${join(world.folder, 'log')}`, 'log_file = service.log', 'use_stderr = true', 'force_config_drive = true'],
  sections: ['[image_cache]', 'manager_interval = 1', '[api]', `vendordata_jsonfile_path = ${join(world.folder, 'vendor.json')}`],
});

test.before(async (t) => {
  if (worldProblem !== undefined) return;
  t.timeout(180_000);
  const world = t.context.world = await ServiceWorld.make();
  t.context.messaging = connectMessaging({ transportUrl: world.transportUrl }, silentLog());
  await writeFile(join(world.folder, 'vendor.json'), JSON.stringify({ licence: planted('vendor') }));
  const service = await begin(world);
  t.context.one = { service };
  await service.ready();
});
test.after.always(async (t) => {
  if (!t.passed && t.context.one) process.stderr.write(t.context.one.service.said.slice(-20_000));
  await t.context.messaging?.close();
  await t.context.world?.end();
});

/** How often the service has reported since: a number that only rises. */
async function beats(world: ServiceWorld, count: number): Promise<void> {
  const seen = async (): Promise<string> => JSON.stringify(((await world.client.call('nova', 'GET', '/v2.1/os-services'))['services'] as Record<string, string>[]).find((one) => one['binary'] === 'nova-compute' && one['host'] === host));
  for (let n = 0; n < count; n++) {
    const before = await seen();
    await until('another sign of life', async () => (await seen()) !== before);
  }
}

const metric = async (service: Service, name: string): Promise<number> => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec((await service.page('/metrics')).text)?.[1]);

for (const [name, jump] of [['forwards', day], ['backwards', -day]] as const) {
  real(`the clock is set ${name} by a day, again and again, while it works: all goes on`, async (t) => {
    t.timeout(300_000);
    const { world, one: { service } } = t.context;
    await service.setClock(0);
    // in a boot: image, network, neutron's event, token, calls
    const id = await world.create(`clock-${name}`);
    await service.setClock(jump);
    t.is(await world.settled(id), 'ACTIVE');
    await beats(world, 2);
    const age = await metric(service, 'haulier_heartbeat_age_seconds');
    t.true(age >= 0 && age < 60, `${age}`);
    t.is((await service.page('/readyz')).status, 200);
    for (const [action, status] of [['pause', 'PAUSED'], ['unpause', 'ACTIVE'], ['os-stop', 'SHUTOFF'], ['os-start', 'ACTIVE']] as const) {
      const done = world.act(id, action);
      await service.setClock(action === 'pause' || action === 'os-stop' ? 0 : jump); // there and back, in the middle
      t.is(await done, status, action);
    }
    const up = Number(/^up +(\d+)s$/m.exec(await world.command(service, 'show', id))?.[1]);
    t.true(up >= 0 && up < 300, `up ${up}`);
    t.is(await world.delete(id), 'gone');
    // an image that nobody uses ages by the time that passes; the cache has been looked at every second
    const images = async (): Promise<number> => (await readdir(join(service.paths.instances, '_base'))).length;
    t.is(await images(), 1);
    await service.setClock(3 * jump);
    await beats(world, 3);
    t.is(await images(), 1);
    await service.setClock(0);
    t.deepEqual([...(await service.page('/operations')).text.matchAll(/"ageMs":(-?\d+)/g)].filter(([, ms]) => Number(ms) < 0), []);
  });
}

/** Starts one that must not start. @returns what it said */
async function refused(world: ServiceWorld, options: Parameters<ServiceWorld['service']>[0]): Promise<string> {
  const second = await world.service(options);
  const code = await second.ended;
  return `${code}: ${second.said}`;
}

real('a second one of the same name on another machine is refused, in plain words, and harms nothing; it may take the place of one that died', async (t) => {
  t.timeout(300_000);
  const { world, one: { service } } = t.context;
  const id = await world.create('not-harmed');
  t.is(await world.settled(id), 'ACTIVE');
  const nodes = async (): Promise<unknown> => (await world.client.call('placement', 'GET', '/resource_providers'))['resource_providers'];
  const before = await nodes();
  const identity = await readFile(join(service.paths.state, 'compute_id'), 'utf8');
  const elsewhere = { host, folder: 'elsewhere' };
  const said = await refused(world, elsewhere);
  t.regex(said, /^1: /);
  t.regex(said, /a compute service of the name one is running: it answers on the message bus/);
  // even with a copy of its identity, as on a cloned machine
  const clone = join(world.folder, 'elsewhere/state/compute_id');
  t.false(existsSync(clone), 'it made itself no identity');
  await copyFile(join(service.paths.state, 'compute_id'), clone);
  t.regex(await refused(world, elsewhere), /it answers on the message bus/);
  t.deepEqual(await nodes(), before);
  t.is(await readFile(join(service.paths.state, 'compute_id'), 'utf8'), identity);
  await beats(world, 2);
  t.deepEqual([(await service.page('/readyz')).status, await world.act(id, 'pause'), await world.act(id, 'unpause')], [200, 'PAUSED', 'ACTIVE']);
  // a stock nova-compute of that name would answer just so
  const other = await t.context.messaging.serve({ topics: ['compute'], server: 'stock', endpoints: [baseEndpoint] });
  t.regex(await refused(world, { host: 'stock' }), /of the name stock is running/);
  await other.stop(0);

  await service.stop('SIGKILL');
  const again = t.context.one.service = await begin(world);
  await again.ready();
  t.is((await world.server(id))?.status, 'ACTIVE');
  t.is(await world.delete(id), 'gone');
});

real('its log: moved away, cut off, told by SIGHUP; on standard error too', async (t) => {
  t.timeout(120_000);
  const { world, one: { service }, messaging } = t.context;
  const file = join(world.folder, 'log/service.log');
  /** Something that it logs, whose name is its own. */
  const provoke = async (): Promise<string> => {
    const method = `m${randomUUID().replaceAll('-', '')}`;
    await t.throwsAsync(messaging.client.call({ topic: 'compute', server: host, version: '6.0' }, method, {}, adminContext()));
    return method;
  };
  const holds = async (path: string, word: string): Promise<boolean> => (await readFile(path, 'utf8').catch(() => '')).includes(word);
  const whole = async (path: string): Promise<boolean> => (await readFile(path, 'utf8')).trim().split('\n').every((line) => { JSON.parse(line); return true; });
  const first = await provoke();
  await until('it is in the file', () => holds(file, first));
  await rename(file, `${file}.1`);
  const second = await provoke();
  await until('it is in a new file', () => holds(file, second));
  t.false(await holds(`${file}.1`, second));
  t.true(await holds(`${file}.1`, first));
  await copyFile(file, `${file}.2`);
  await truncate(file);
  const third = await provoke();
  await until('it is in the file that was cut off', () => holds(file, third));
  t.deepEqual([await holds(file, second), await holds(file, '\u0000'), await whole(file), await whole(`${file}.1`)], [false, false, true, true]);
  await rename(file, `${file}.3`);
  service.signal('SIGHUP');
  await until('a new one is there', () => holds(file, 'opened anew'));
  const fourth = await provoke();
  await until('it goes on', () => holds(file, fourth));
  for (const word of [first, second, third, fourth]) await until('standard error has all', () => service.said.includes(word));
  t.is((await service.page('/readyz')).status, 200, 'SIGHUP did not end it');
});

real('on a terminal: lines for people, or JSON where that is wanted; debug only where it is', async (t) => {
  t.timeout(120_000);
  const { world } = t.context;
  const plain = await refused(world, { host, folder: 'terminal', terminal: true });
  t.regex(plain, /^1: .*\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} CRITICAL cannot start: .*\n/s);
  t.notRegex(plain, /^\{/m);
  const lines = (await refused(world, { host, folder: 'terminal', terminal: true, more: ['use_json = true', 'debug = true'] })).replace(/^1: /, '').trim().split(/\r?\n/);
  const records = lines.map((line) => JSON.parse(line) as { level: number; msg: string });
  t.true(records.some(({ level, msg }) => level === 60 && msg.startsWith('cannot start')));
});

real('nothing that was planted is in any log, on any page or in any answer', async (t) => {
  t.timeout(180_000);
  const { world, one: { service }, messaging } = t.context;
  const userData = Buffer.from(`#!/bin/sh\necho ${planted('userdata')}\n`).toString('base64');
  const id = await world.create('secrets', { user_data: userData, metadata: { note: planted('metadata') } });
  t.is(await world.settled(id), 'ACTIVE');
  const drive = await readFile(join(service.paths.instances, id, 'config-drive.json'), 'utf8');
  t.true(drive.includes(Buffer.from('meta_data.json').toString()), 'the vendor data went into a drive');
  const call = (method: string, args: Record<string, unknown>): Promise<unknown> => messaging.client.call({ topic: 'compute', server: host, version: '6.0' }, method, args, { ...adminContext(), auth_token: planted('token') });
  const errors: string[] = [];
  for (const [method, args] of [['set_admin_password', { instance: { uuid: id }, new_pass: planted('password') }], ['validate_console_port', { instance: null, port: planted('port'), console_type: 'serial' }], ['no_such', { admin_pass: planted('argument') }]] as const) {
    await call(method, args).catch((error: unknown) => errors.push(String(error), JSON.stringify(error)));
  }
  t.is(errors.length, 6);
  const pages = await Promise.all(['/readyz', '/containers', `/containers/${id}/verdict`, '/hauls', '/operations', '/metrics'].map(async (path) => (await service.page(path)).text));
  const shown = [await world.command(service, 'ps', '--json'), await world.command(service, 'show', id), await world.command(service, 'config')];
  t.is(await world.delete(id), 'gone');
  const folder = join(world.folder, 'log');
  const logs = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name), 'utf8')));
  const places = { logs: logs.join('\n'), terminal: service.said, pages: pages.join('\n'), commands: shown.join('\n'), errors: errors.join('\n') };
  t.true(places.logs.includes('"service":"neutron"') && places.logs.includes(id), 'it said much');
  for (const [place, text] of Object.entries(places)) t.deepEqual([...new Set(text.match(/PLANTED-\w+/g) ?? [])], [], place);
});

// last: the scheduler would go on placing servers on the neighbour
real('a second one of this machine: the same folders are refused, whichever of them it is, and by another path too', async (t) => {
  t.timeout(120_000);
  const { world, one: { service } } = t.context;
  const { run, state, instances } = service.paths;
  t.regex(await refused(world, { host: 'two', paths: { run } }), /^1: .*Another haulier process works with the containers of .*\/run\n/s);
  t.regex(await refused(world, { host: 'two', paths: { state: `${state}/../state` } }), /^1: .*Another haulier process .*\/state\n/s);
  t.regex(await refused(world, { host, folder: 'elsewhere', paths: { instances: `${instances}/.` } }), /^1: .*Another haulier process .*\/instances\/\.\n/s);
  const neighbour = await world.service({ host: 'two', paths: { instances } }); // hosts may share their disks
  await neighbour.ready();
  t.is(await neighbour.stop(), 0);
});
