/** The option table against Nova's own (recorded/nova-options.json: Zed), and the sample file against the table. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import type { Option } from '../../../src/base/config/option.js';
import { parseIni } from '../../../src/base/config/parse.js';
import { renderSample } from '../../../src/base/config/sample.js';
import { table } from '../../../src/base/config/table.js';
import { packageRoot } from '../../../src/base/package-root.js';

interface NovaOption { type: string; default: unknown; min: number | null; max: number | null; choices: string[] | null; secret: boolean; deprecated: string[] }
const nova = JSON.parse(readFileSync(join(packageRoot, 'test/unit/config/recorded/nova-options.json'), 'utf8')) as Record<string, Record<string, NovaOption>>;

/** Where the table differs on purpose: other default than Zed's. Why is said at the option. */
const otherDefault = new Set([
  'DEFAULT.host', 'DEFAULT.my_ip', 'DEFAULT.pybasedir', // of the recording host
  'DEFAULT.state_path', 'DEFAULT.control_exchange', // not the library's
  'DEFAULT.initial_cpu_allocation_ratio', 'DEFAULT.initial_ram_allocation_ratio', 'DEFAULT.heal_instance_info_cache_interval', 'DEFAULT.sync_power_state_pool_size', // 2025.1
  'oslo_messaging_rabbit.ssl_enforce_hostname_verification', 'oslo_messaging_rabbit.heartbeat_rate', // 2026.2, 2025.1
]);
/** Bounds that came after Zed. */
const otherBounds = new Set(['rabbit_retry_interval', 'rabbit_retry_backoff', 'rabbit_interval_max', 'rabbit_transient_queues_ttl'].map((name) => `oslo_messaging_rabbit.${name}`));
/** Not in Zed. */
const newer = new Set([
  'DEFAULT.manager_shutdown_timeout', 'compute.sharing_providers_max_uuids_per_request',
  ...['kombu_reconnect_splay', 'rabbit_transient_quorum_queue', 'rabbit_quorum_max_memory_length', 'rabbit_quorum_max_memory_bytes', 'rabbit_stream_fanout', 'use_queue_manager', 'hostname', 'processname'].map(
    (name) => `oslo_messaging_rabbit.${name}`,
  ),
  // Nova registers no auth options for glance, but keystoneauth takes them wherever auth_type is
  'glance.auth_section', 'glance.auth_type',
]);

const kindOf = (option: Option): string =>
  option.multi ? 'Multi' : option.type.allowed.startsWith('one of') ? 'Choice' : (/^(text|true|integer|number|list|port|URI|IP)/.exec(option.type.allowed)?.[1] ?? option.type.allowed);
const kinds: Record<string, string[]> = {
  text: ['String', 'type'], true: ['Boolean'], integer: ['Integer'], number: ['Float'], list: ['List'], port: ['Port'], URI: ['URI'], IP: ['HostAddress', 'HostDomain'], Multi: ['Multi'], Choice: ['String'],
};

for (const [section, { options }] of Object.entries(table).filter(([name]) => name !== 'haulier')) {
  for (const [name, option] of Object.entries<Option>(options)) {
    const where = `${section}.${name}`;
    test(`as in Nova: ${where}`, (t) => {
      const theirs = nova[section]?.[name];
      if (!theirs) return t.true(newer.has(where), 'Nova has no such option');
      t.true(kinds[kindOf(option)]?.includes(theirs.type), `${option.type.allowed}, in Nova ${theirs.type}`);
      t.is(option.secret, theirs.secret, 'secret');
      if (!otherDefault.has(where)) t.deepEqual(option.default ?? null, theirs.default, 'default');
      else t.notDeepEqual(option.default, theirs.default, 'take it off the list');
      const bounds = [theirs.min === null ? '' : `${theirs.min}`, theirs.max === null ? '' : `${theirs.max}`];
      if (theirs.type !== 'Port' && !theirs.choices && !otherBounds.has(where)) t.deepEqual((option.type.allowed.match(/[\d.-]+/g) ?? []).join(), bounds.filter((bound) => bound !== '').map(Number).join(), 'bounds');
      if (theirs.choices) t.deepEqual(option.type.allowed.replace('one of ', '').split(', ').toSorted(), theirs.choices.toSorted());
      const ours = option.deprecated.map((old) => (old.includes('.') ? old : `${section}.${old}`)).toSorted();
      if (!newer.has(where)) t.deepEqual(ours, theirs.deprecated.toSorted(), 'deprecated names');
    });
  }
}

test('every option has a one-line help that ends with a full stop', (t) => {
  for (const [section, { options }] of Object.entries(table)) {
    for (const [name, { help }] of Object.entries<Option>(options)) t.regex(help, /^[^\n]{4,}\.$/, `${section}.${name}`);
  }
});

test('every password-like option is secret', (t) => {
  for (const [section, { options }] of Object.entries(table)) {
    for (const [name, { secret }] of Object.entries<Option>(options)) {
      if (/secret|transport_url|^password$/.test(name)) t.true(secret, `${section}.${name}`);
    }
  }
});

test('docs/haulier.conf.sample is what the table gives (HAULIER_UPDATE=1 writes it)', (t) => {
  const path = join(packageRoot, 'docs/haulier.conf.sample');
  if (process.env.HAULIER_UPDATE === '1') writeFileSync(path, renderSample());
  t.is(readFileSync(path, 'utf8'), renderSample());
});

test('the sample is a readable file that sets nothing, and has a line for every option', (t) => {
  const { file, problems } = parseIni(renderSample(), '/sample');
  t.deepEqual(problems, []);
  t.deepEqual(file.sections, Object.keys(table));
  const open = parseIni(renderSample().replaceAll(/^#(\w+ =)/gm, '$1'), '/sample').file;
  for (const [section, { options }] of Object.entries(table)) {
    t.is(file.keys(section).size, 0);
    t.deepEqual([...open.keys(section).keys()], Object.keys(options));
  }
});
