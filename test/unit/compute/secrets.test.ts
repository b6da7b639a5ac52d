/** Secrets planted in the configuration, in contexts and in arguments: nowhere in the log, in failures, in faults, over HTTP. */
import { HaulBoard } from '../../../src/haul/board.js';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { PassThrough } from 'node:stream';
import test from 'ava';
import { createLog, hideSecret, maskSecrets } from '../../../src/base/log.js';
import { computeEndpoint } from '../../../src/compute/endpoint.js';
import { Tally } from '../../../src/container/checkpoint/tally.js';
import { startHttp } from '../../../src/http/server.js';
import { computeRequests } from '../../contract/recordings.js';
import { makeDesk } from '../messaging/desk.js';
import { newToken } from '../../../src/haul/token.js';
import { LiveHosts } from './live-hosts.js';
import { host, uuid, world } from './world.js';

const planted = (name: string): string => `PLANTED-${name}-3f9a`;
const secretArguments = new Set(['admin_password', 'new_pass', 'orig_sys_metadata', 'rescue_password']);
const encoded = (name: string): string => Buffer.from(planted(name)).toString('base64');

/** In whatever lies in a message: what a server's user gave it, and what another host gave this one. */
function plantInside(value: unknown): void {
  if (typeof value !== 'object' || value === null) return;
  const fields = value as Record<string, unknown>;
  if (fields['nova_object.name'] === 'Instance') {
    const data = fields['nova_object.data'] as Record<string, unknown>;
    Object.assign(data, { user_data: encoded('userdata'), key_data: `x509 ${planted('keydata')}`, metadata: { note: planted('metadata') } });
    if (typeof data['system_metadata'] === 'object') data['system_metadata'] = { ...data['system_metadata'], password_0: planted('stored'), image_note: planted('image') };
  }
  if (fields['nova_object.name'] === 'LibvirtLiveMigrateData') Object.assign(fields['nova_object.data'] as object, { serial_listen_addr: null });
  for (const item of Object.values(fields)) plantInside(item);
}

test.serial('no secret of any recorded request comes out, whether it is done or fails', async (t) => {
  t.timeout(300_000);
  const lines: string[] = [];
  const out = new PassThrough();
  out.on('data', (chunk: Buffer) => lines.push(chunk.toString()));
  const log = createLog({ level: 'debug', out });
  const vendor = join(await mkdtemp(join(tmpdir(), 'vendor-')), 'vendor.json');
  t.teardown(() => rm(dirname(vendor), { recursive: true }));
  await writeFile(vendor, JSON.stringify({ licence: planted('vendor') }));
  const w = await world({ vifPluggingTimeout: 0, forceConfigDrive: true, vendorData: { providers: ['StaticJSON'], file: vendor, targets: [], failureFatal: false } }, 68, log);
  w.containers.cloudInit = true;
  Object.assign(w.nova.row(uuid), { user_data: encoded('userdata'), metadata: { note: planted('metadata') } });
  w.plugWhenAsked();
  const boot = w.bootArgs({ admin_password: planted('argument'), injected_files: [['/etc/secret', encoded('file')]] });
  plantInside(boot);
  await w.send('build_and_run_instance', boot);
  w.nova.row(uuid)['task_state'] = 'updating_password';
  await w.send('set_admin_password', { instance: w.instance(), new_pass: planted('argument') });
  t.deepEqual([w.nova.row(uuid)['vm_state'], w.nova.row(uuid)['task_state'], w.nova.faults], ['active', null, []]);
  const current = computeEndpoint(w.compute);
  const desk = makeDesk([current], log, 1);
  hideSecret(planted('config'), true);
  const faulty = new Error(`connect failed: rabbit://nova:${planted('url')}@host:5672/ with ${planted('config')} and X-Auth-Token: ${planted('token')}`);
  for (const [index, { body }] of [...computeRequests(), ...computeRequests()].entries()) {
    const message = structuredClone(body['oslo.message']) as unknown as Record<string, unknown> & { args: Record<string, unknown> };
    message['_context_auth_token'] = planted('token');
    message['_context_service_catalog'] = [{ password: planted('catalog') }];
    for (const key of Object.keys(message.args)) if (secretArguments.has(key)) message.args[key] = key === 'orig_sys_metadata' ? { admin_pass: planted('argument') } : planted('argument');
    plantInside(message.args);
    if ('injected_files' in message.args) message.args['injected_files'] = [['/etc/secret', encoded('file')]];
    Object.assign(message, { _msg_id: `m${index}`, _reply_q: 'reply', _unique_id: `u${index}` });
    // the second time round whatever is asked first fails, in the words of a careless library
    if (index % 2 === 1) for (const step of ['Instance.save -/-', 'Instance.get_by_uuid', 'containers.startContainer', 'containers.stopContainer', 'containers.giveBootData', 'containers.setPassword', 'ConsoleAuthToken.authorize', 'neutron.ports', 'placement.allocations']) w.steps.fail(step, faulty);
    desk.deliver({ body: Buffer.from(JSON.stringify({ 'oslo.version': '2.0', 'oslo.message': JSON.stringify(message) })) });
    await desk.dispatcher.idle();
  }
  log.error({ err: faulty, password: planted('field'), deep: { admin_pass: planted('field') } }, `it said: ${faulty.message}`);
  const http = (await startHttp({ host: '127.0.0.1', port: 0 }, {
    notReady: () => [], containers: async () => await w.containers.list(), verdict: async () => { throw faulty; }, operations: () => w.compute.operations.running.map((operation) => operation.view()), abilities: () => undefined, tally: new Tally(),
    figures: () => ({ requests: [], calls: [], ended: w.compute.operations.ended.rows, events: w.compute.events.waited.rows, periodic: [], periodicCpu: [], heartbeatAge: 0 }), images: async () => [], hauls: new HaulBoard(),
  }, log))!;
  const pages = await Promise.all(['/containers', '/operations', '/metrics', '/readyz', '/containers/x/verdict'].map(async (path) => (await fetch(`http://127.0.0.1:${http.port}${path}`)).text()));
  await http.close();
  const places = { log: lines.join(''), answers: JSON.stringify(desk.answers), faults: JSON.stringify(w.nova.faults), events: JSON.stringify(w.nova.events), http: pages.join('') };
  t.true(w.containers.bootData.some(({ configDrive }) => [...(configDrive?.values() ?? [])].some((file) => file.includes(planted('vendor')))), 'the vendor data got where it belongs');
  t.true(w.containers.passwords.some((entry) => entry.includes(planted('argument'))));
  t.true(places.log.includes('it said: connect failed: rabbit://nova:***@host') && w.nova.faults.length > 0 && desk.answers.some(({ message }) => message['failure']));
  for (const [place, text] of Object.entries(places)) t.deepEqual([...new Set(text.match(/PLANTED-\w+/g) ?? []), ...['userdata', 'file'].filter((name) => text.includes(encoded(name)))], [], place);
  for (const place of ['log', 'faults', 'events', 'http'] as const) t.false(places[place].includes('the-token'), `the token of a console in ${place}`);
});

test.serial('what opens a haul is in no log, no record and no fault, whether it works or fails', async (t) => {
  const lines: string[] = [];
  const out = new PassThrough();
  out.on('data', (chunk: Buffer) => lines.push(chunk.toString()));
  for (const fails of [false, true]) {
    const live = await LiveHosts.begin({}, createLog({ level: 'trace', out }));
    if (fails) live.w.steps.fail('haul.copy', new Error('the other host is gone'));
    const answers: unknown[] = [];
    const { onCall } = live.w.nova;
    live.w.nova.onCall = async (...call) => {
      const answer = await onCall!(...call);
      answers.push(answer);
      return answer;
    };
    await live.migrate().catch(() => undefined);
    t.is(live.it.row['host'] === host, fails);
    const ticket = JSON.stringify(answers).match(/for [0-9a-f-]{6,}/)?.[0];
    t.true(ticket !== undefined, 'it travelled');
    const stored = JSON.stringify([[...live.w.nova.instances.values()], live.w.nova.migrations, live.w.nova.faults, live.w.nova.events]);
    t.deepEqual([lines.join('').includes(ticket!), stored.includes(ticket!)], [false, false]);
  }
  const token = newToken();
  t.is(maskSecrets(`refused: ${token}`), 'refused: ***');
  t.true(lines.length > 0);
});

test.serial('a known secret is hidden in any text; a short one would be found in words', (t) => {
  hideSecret('Tr0ub4dor', true);
  hideSecret('nova', true);
  t.deepEqual(maskSecrets({ a: ['xTr0ub4dory'], b: 'nova-compute' }), { a: ['x***y'], b: 'nova-compute' });
  for (let i = 0; i < 1000; i++) hideSecret(`token-${i}-of-a-request`);
  t.is(maskSecrets('token-999-of-a-request'), '***');
  t.is(maskSecrets('token-0-of-a-request'), 'token-0-of-a-request', 'forgotten, or it would grow without end');
  t.is(maskSecrets('Tr0ub4dor'), '***', 'that of the configuration stays');
});

test.serial('masking takes time by the length of a text, not by its square', (t) => {
  // by the square these would take minutes, and the time-out of the test ends them
  for (const text of ['x'.repeat(400_000), 'a://'.repeat(100_000), 'a://:'.repeat(80_000), 'a://b:'.repeat(60_000)]) t.is(maskSecrets(text), text);
});
