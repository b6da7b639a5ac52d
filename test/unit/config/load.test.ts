/** Files, order, errors: the whole way from a command line to values. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { readArguments } from '../../../src/base/config/arguments.js';
import { defaultConfig, hostFacts, loadConfig, type Config, type LoadedConfig, type LoadRequest } from '../../../src/base/config/load.js';
import type { ConfigProblem } from '../../../src/base/config/problems.js';
import { isHaulierError, type HaulierError } from '../../../src/base/errors.js';

const facts = { hostName: 'node-1', address: '192.0.2.7' };

interface Place { root: string; load(request?: LoadRequest): Promise<LoadedConfig>; failing(request?: LoadRequest): Promise<{ error: HaulierError; problems: readonly ConfigProblem[] }> }

/** A root folder of its own, with `files` in it; the home folder is `/root` there. */
async function place(t: ExecutionContext, files: Record<string, string>, env: Record<string, string> = {}): Promise<Place> {
  const root = await mkdtemp(join(tmpdir(), 'haulier-config-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), text);
  }
  const load = (request: LoadRequest = {}): Promise<LoadedConfig> => loadConfig({ facts, surroundings: { home: join(root, 'root'), env, root }, ...request });
  return {
    root,
    load,
    async failing(request) {
      const error = (await t.throwsAsync(load(request))) as HaulierError;
      t.true(isHaulierError(error, 'CONFIG_INVALID'), String(error));
      return { error, problems: error.cause as ConfigProblem[] };
    },
  };
}

const host = (name: string): string => `[DEFAULT]\nhost = ${name}\n`;

test('without any file: the defaults, typed', async (t) => {
  const { load } = await place(t, {});
  const { config, files, settings } = await load();
  t.deepEqual(files, []);
  // the assignments are the test: they do not compile if a type is lost
  const name: string = config.DEFAULT.host;
  const ratio: number | undefined = config.DEFAULT.cpu_allocation_ratio;
  const action: 'reap' | 'log' | 'shutdown' | 'noop' = config.DEFAULT.running_deleted_instance_action;
  const interfaces: readonly string[] = config.neutron.valid_interfaces;
  const format: 'vm_state' | 'vm_and_task_state' | undefined = config.notifications.notify_on_state_change;
  t.deepEqual([name, ratio, action, interfaces, format], ['node-1', undefined, 'reap', ['internal', 'public'], undefined]);
  t.is(config.DEFAULT.my_ip, '192.0.2.7');
  t.is(config.DEFAULT.my_block_storage_ip, '192.0.2.7');
  t.is(config.DEFAULT.instances_path, '/var/lib/nova/instances');
  t.is(config.haulier.hypervisor_hostname, 'node-1');
  t.deepEqual(config.haulier.http_listen, { host: '127.0.0.1', port: 8790 });
  t.true(settings.every(({ origin }) => origin === 'default'));
  // @ts-expect-error an option that is not in the table is a compile error
  t.is(config.DEFAULT.no_such_option, undefined);
});

test('the configuration is frozen, lists too', (t) => {
  const config = defaultConfig({ neutron: { physnets: 'a,b' } }) as { -readonly [S in keyof Config]: { -readonly [O in keyof Config[S]]: Config[S][O] } };
  t.throws(() => { config.DEFAULT.host = 'x'; }, { instanceOf: TypeError });
  t.throws(() => { config.DEFAULT = config.DEFAULT; }, { instanceOf: TypeError });
  t.throws(() => (config.neutron.physnets as string[]).push('c'), { instanceOf: TypeError });
  t.throws(() => (config.neutron.valid_interfaces as string[]).push('c'), { instanceOf: TypeError });
});

test('the default ids for containers stay clear of others and of 2^31', (t) => {
  const { subid_base: base, subid_ranges: ranges } = defaultConfig().haulier;
  t.true(base > 600_100_000 && base > 1_001_000_000 && base > 1_879_048_191);
  t.true(base + ranges * 65536 <= 2_147_352_576);
});

test('default files: each name from the first folder that has it, nova.conf before nova-compute.conf', async (t) => {
  const { load, root } = await place(t, {
    'etc/nova/nova.conf': `${host('etc')}report_interval = 11\n`, 'root/.nova/nova-compute.conf': host('home'), 'etc/nova/nova-compute.conf': host('not read'), 'etc/nova.conf': host('not read'),
  });
  const { config, files, settings } = await load();
  t.deepEqual(files, [join(root, 'etc/nova/nova.conf'), join(root, 'root/.nova/nova-compute.conf')]);
  t.is(config.DEFAULT.host, 'home');
  t.is(config.DEFAULT.report_interval, 11);
  t.is(settings.find(({ name }) => name === 'report_interval')?.origin, `${root}/etc/nova/nova.conf:3`);
});

test('default folders: a snap counts last', async (t) => {
  const snap = await place(t, { 'etc/nova/nova.conf': host('snap') });
  const { load } = await place(t, {}, { SNAP: snap.root });
  t.is((await load()).config.DEFAULT.host, 'snap');
});

test('default directories come after default files and before what is given', async (t) => {
  const { load, root } = await place(t, {
    'etc/nova/nova.conf': host('file'), 'etc/nova/nova.conf.d/10.conf': host('dir'), 'given.conf': '[DEFAULT]\nreport_interval = 12\n', 'other/a.conf': host('given-dir'),
  });
  t.is((await load()).config.DEFAULT.host, 'dir');
  // --config-file turns off the default files, not the default directories
  const given = await load({ sources: [{ file: join(root, 'given.conf') }] });
  t.deepEqual(given.files, [join(root, 'etc/nova/nova.conf.d/10.conf'), join(root, 'given.conf')]);
  const dir = await load({ sources: [{ dir: join(root, 'other') }] });
  t.deepEqual(dir.files, [join(root, 'etc/nova/nova.conf'), join(root, 'other/a.conf')]);
});

test('files and directories count in the order of the command line', async (t) => {
  const { load, root } = await place(t, { 'd/b.conf': host('b'), 'd/a.conf': host('a'), 'd/.c.conf': host('hidden'), 'd/d.conf.bak': host('bak'), 'x.conf': host('x') });
  const dirFirst = await load({ sources: [{ dir: join(root, 'd') }, { file: join(root, 'x.conf') }] });
  t.deepEqual(dirFirst.files, ['d/a.conf', 'd/b.conf', 'x.conf'].map((name) => join(root, name)));
  t.is(dirFirst.config.DEFAULT.host, 'x');
  const fileFirst = await load({ sources: [{ file: join(root, 'x.conf') }, { dir: join(root, 'd') }] });
  t.is(fileFirst.config.DEFAULT.host, 'b');
});

test('~ in a path is the home folder', async (t) => {
  const { load } = await place(t, { 'root/my.conf': host('mine') });
  t.is((await load({ sources: [{ file: '~/my.conf' }] })).config.DEFAULT.host, 'mine');
});

test('the command line wins over all files and is interpolated', async (t) => {
  const { load, root } = await place(t, { 'x.conf': host('x') });
  const { config, settings } = await load({ sources: [{ file: join(root, 'x.conf') }], overrides: { DEFAULT: { host: 'cli', state_path: '/s/$host' }, oslo_messaging_notifications: { driver: 'noop' } } });
  t.is(config.DEFAULT.instances_path, '/s/cli/instances');
  t.deepEqual(config.oslo_messaging_notifications.driver, ['noop']);
  t.is(settings.find(({ name }) => name === 'host')?.origin, 'command line');
});

test('all errors at once, each with its place; secrets are not shown', async (t) => {
  const { failing, root } = await place(t, {
    'a.conf': '[DEFAULT]\nreport_interval = ten\nnonsense\ndebug = maybe\n[neutron]\npassword = pa$word\ntimeout = soon\n[haulier]\nhttp_lisen = off\n',
    'b.conf': '[placement]\nvalid_interfaces = a\n[DEFAULT]\nmax_concurrent_builds = -1\nrunning_deleted_instance_action = kill\nhost = bad host\n',
  });
  const a = join(root, 'a.conf');
  const { error, problems } = await failing({ sources: [{ file: a }, { file: join(root, 'b.conf') }, { file: join(root, 'none.conf') }, { dir: join(root, 'nodir') }] });
  t.deepEqual(problems.map(({ where, section, option }) => `${where.slice(root.length + 1)} ${section}.${option}`).toSorted(), [
    'a.conf:2 DEFAULT.report_interval', 'a.conf:3 DEFAULT.-', 'a.conf:4 DEFAULT.debug', 'a.conf:6 neutron.password', 'a.conf:7 neutron.timeout', 'a.conf:9 haulier.http_lisen',
    'b.conf:4 DEFAULT.max_concurrent_builds', 'b.conf:5 DEFAULT.running_deleted_instance_action', 'b.conf:6 DEFAULT.host', 'nodir -.-', 'none.conf -.-',
  ]);
  for (const { where } of problems) t.true(error.message.includes(where));
  t.is(error.message.split('\n').length, problems.length);
  t.true(error.message.includes(`${a}:2: [DEFAULT] report_interval: 'ten' is not an integer (allowed: integer)`));
  t.true(error.message.includes("'kill' is not one of reap, log, shutdown, noop"));
  t.true(error.message.includes("'-1' should be greater than or equal to 0 (allowed: integer, at least 0)"));
  t.true(error.message.includes('did you mean http_listen?'));
  t.true(error.message.includes('refers to $word, which is no option (write $$ for a dollar sign)'));
  t.false(error.message.includes('pa$'));
  t.false(error.message.includes('nonsense'), 'a line without = may be half a password');
});

test('a wrong value that was made from a secret is not shown, nor a password in a URL', async (t) => {
  const { failing, root } = await place(t, { 'a.conf': '[neutron]\npassword = hunter2\nusername = $password\n[serial_console]\nbase_url = ws:/$neutron.username/\n[os_vif_ovs]\novsdb_interface = http://me:hunter2@x/\n' });
  const { error, problems } = await failing({ sources: [{ file: join(root, 'a.conf') }] });
  t.is(problems.length, 2);
  t.false(error.message.includes('hunter2'));
});

test('an option that refers to a wrong one adds no error of its own', async (t) => {
  const { failing, root } = await place(t, { 'a.conf': '[DEFAULT]\nstate_path = $nowhere\n' });
  t.is((await failing({ sources: [{ file: join(root, 'a.conf') }] })).problems.length, 1);
});

test('unknown options and sections are ignored, but in [haulier] they are an error, also in a default file', async (t) => {
  const { load, failing, root } = await place(t, { 'a.conf': '[DEFAULT]\ncompute_driver = libvirt.LibvirtDriver\n[libvirt]\nvirt_type = $\n', 'b.conf': '[Haulier]\nzzzzzzzzzzz = 1\n' });
  t.deepEqual((await load({ sources: [{ file: join(root, 'a.conf') }] })).warnings, []);
  const { problems } = await failing({ sources: [{ file: join(root, 'b.conf') }] });
  t.deepEqual(problems, [{ where: `${root}/b.conf:2`, section: 'haulier', option: 'zzzzzzzzzzz', problem: 'there is no such option' }]);
});

test('an empty number is an error where there is a default, and none where there is not', async (t) => {
  const { load, failing, root } = await place(t, { 'a.conf': '[DEFAULT]\ncpu_allocation_ratio =\n', 'b.conf': '[DEFAULT]\nreport_interval =\n' });
  t.is((await load({ sources: [{ file: join(root, 'a.conf') }] })).config.DEFAULT.cpu_allocation_ratio, undefined);
  t.is((await failing({ sources: [{ file: join(root, 'b.conf') }] })).problems.length, 1);
});

test('auth_section: credentials from another section, connection from the own', async (t) => {
  const { load, root } = await place(t, {
    'a.conf': '[creds]\nauth_type = password\nusername = nova\npassword = p-$username\nuser_name = old\ntimeout = 9\nauth_section = nowhere\n[neutron]\nauth_section = creds\nusername = ignored\ntimeout = 5\n[placement]\nauth_section = neutron\n',
  });
  const { neutron, placement } = (await load({ sources: [{ file: join(root, 'a.conf') }] })).config;
  t.deepEqual([neutron.auth_type, neutron.username, neutron.password, neutron.timeout], ['password', 'nova', 'p-nova', 5]);
  t.deepEqual([placement.username, placement.password, placement.timeout], ['ignored', undefined, undefined], 'one step, not a chain');
});

test('deprecated names work and are told; Zed\'s misspelt ones too', async (t) => {
  const { load, root } = await place(t, {
    'a.conf': '[DEFAULT]\nrpc_thread_pool_size = 8\nnotification_driver = noop\ndhcp_domain = d\n[oslo_messaging_rabbit]\nrabbit_quroum_max_memory_length = 5\n[glance]\napi_insecure = yes\n[ssl]\nca_file = /ca\n[neutron]\ntenant-name = t\n[default]\nhost = lost\n[ placement ]\nusername = lost\n',
  });
  const { config, warnings } = await load({ sources: [{ file: join(root, 'a.conf') }] });
  t.is(config.DEFAULT.executor_thread_pool_size, 8);
  t.deepEqual(config.oslo_messaging_notifications.driver, ['noop']);
  t.is(config.api.dhcp_domain, 'd');
  t.is(config.oslo_messaging_rabbit.rabbit_quorum_max_memory_length, 5);
  t.deepEqual([config.glance.insecure, config.glance.cafile, config.neutron.project_name, config.DEFAULT.host], [true, '/ca', 't', 'node-1']);
  t.true(warnings.includes(`${root}/a.conf:2: [DEFAULT] rpc_thread_pool_size is deprecated, use [DEFAULT] executor_thread_pool_size`));
  t.true(warnings.includes(`${root}/a.conf: section [default] is ignored; did you mean [DEFAULT]?`));
  t.true(warnings.includes(`${root}/a.conf: section [ placement ] is ignored; did you mean [placement]?`));
});

test('a reference to an option of Nova that this table has not is taken from the file', async (t) => {
  const { load, root } = await place(t, { 'a.conf': '[DEFAULT]\nstate_path = $rootwrap_config/x\nrootwrap_config = /etc/r\n[neutron]\nusername = ${libvirt.virt_type}\n[libvirt]\nvirt_type = lxc\n' });
  const { config } = await load({ sources: [{ file: join(root, 'a.conf') }] });
  t.is(config.DEFAULT.instances_path, '/etc/r/x/instances');
  t.is(config.neutron.username, 'lxc');
});

test('rules between options', (t) => {
  const rabbit = (options: Record<string, string>) => t.throws(() => defaultConfig({ oslo_messaging_rabbit: options }), { code: 'CONFIG_INVALID' })!.message;
  t.regex(rabbit({ rabbit_quorum_queue: 'true', rabbit_ha_queues: 'true' }), /command line: \[oslo_messaging_rabbit\] rabbit_quorum_queue: cannot be true together/);
  t.is(rabbit({ rabbit_stream_fanout: 'on' }).split('\n').length, 2);
  t.regex(t.throws(() => defaultConfig({ haulier: { subid_base: '4294900000' } }))!.message, /beyond the last id/);
  t.notThrows(() => defaultConfig({ oslo_messaging_rabbit: { rabbit_stream_fanout: 'on', rabbit_qos_prefetch_count: '1', rabbit_transient_quorum_queue: 'true' } }));
});

test('own types: listen addresses, paths, commands', (t) => {
  const own = (name: 'http_listen' | 'run_path' | 'criu', text: string) => defaultConfig({ haulier: { [name]: text } }).haulier[name];
  t.deepEqual(own('http_listen', '[::1]:80'), { host: '::1', port: 80 });
  t.is(own('http_listen', ''), 'off');
  t.is(own('run_path', '/a/b/'), '/a/b');
  t.is(own('criu', '/opt/criu'), '/opt/criu');
  for (const bad of ['80', '::1:80', 'a:65536', 'a:b', '[x]:1', ':80']) t.throws(() => own('http_listen', bad), { code: 'CONFIG_INVALID' }, bad);
  for (const bad of ['a', '/a/../b', '/', '', '/a//b', '/a/.']) t.throws(() => own('run_path', bad), { code: 'CONFIG_INVALID' }, bad);
  for (const bad of ['criu --x', 'bin/criu', '']) t.throws(() => own('criu', bad), { code: 'CONFIG_INVALID' }, bad);
});

test('a file that cannot be read or is not UTF-8 is an error that names it', async (t) => {
  const { failing, root } = await place(t, { 'dir/x': '' });
  await writeFile(join(root, 'latin.conf'), Buffer.from([0x5b, 0xe4, 0x5d]));
  const { problems } = await failing({ sources: [{ file: join(root, 'dir') }, { file: join(root, 'latin.conf') }] });
  t.deepEqual(problems.map(({ where, problem }) => [where, problem]), [[join(root, 'dir'), 'cannot be read: EISDIR'], [join(root, 'latin.conf'), 'cannot be read: it is not UTF-8']]);
});

test('arguments: what is the configuration\'s is taken out', (t) => {
  t.deepEqual(readArguments(['config', '--config-file=/a=b', '--config-dir', '/d', '--config-file', '/c', '-d', '--log-file=/l', '--other', '--nouse-json', '--', '--debug']), {
    sources: [{ file: '/a=b' }, { dir: '/d' }, { file: '/c' }],
    overrides: { DEFAULT: { debug: 'true', log_file: '/l', use_json: 'false' } },
    rest: ['config', '--other', '--', '--debug'],
  });
  t.throws(() => readArguments(['--config-file']), { instanceOf: RangeError });
  t.throws(() => readArguments(['--config-file=']), { instanceOf: RangeError });
  t.deepEqual(readArguments(['constructor', '--debug=x']).rest, ['constructor', '--debug=x']);
});

test('host facts have a name and an address', async (t) => {
  const { hostName, address } = await hostFacts();
  t.truthy(hostName);
  t.regex(address, /^\d+\.\d+\.\d+\.\d+$/);
});
