/** What an operator sees, and what nobody may see. */
import test from 'ava';
import { maskUrl } from '../../../src/base/config/mask.js';
import { nearest } from '../../../src/base/config/nearest.js';
import { parseIni } from '../../../src/base/config/parse.js';
import { resolve, type Setting } from '../../../src/base/config/resolve.js';
import { showConfig } from '../../../src/base/config/show.js';
import { table } from '../../../src/base/config/table.js';

const facts = { hostName: 'node-1', address: '192.0.2.7' };

function settings(text: string): readonly Setting[] {
  const { file, problems } = parseIni(text, '/etc/nova/nova.conf');
  const resolved = resolve({ table, files: [file], facts });
  if (problems.length + resolved.problems.length > 0) throw new Error('bad test');
  return resolved.settings;
}

test('changed settings, with their origin', (t) => {
  const text = showConfig(settings('[DEFAULT]\nhost = a\nstate_path = /s\n[oslo_messaging_notifications]\ndriver = x\ndriver = y\n[neutron]\nphysnets = a , b\n[api]\ndhcp_domain = l1\n  l2\n'), { changedOnly: true });
  t.is(
    text,
    [
      '[DEFAULT]', 'host = a         # /etc/nova/nova.conf:2', 'state_path = /s  # /etc/nova/nova.conf:3', '',
      '[api]', 'dhcp_domain = l1\\nl2  # /etc/nova/nova.conf:10', '',
      '[oslo_messaging_notifications]', 'driver = x  # /etc/nova/nova.conf:6', 'driver = y  # /etc/nova/nova.conf:6', '',
      '[neutron]', 'physnets = a,b  # /etc/nova/nova.conf:8', '',
    ].join('\n'),
  );
});

test('all settings: every option has a line; nothing set is told', (t) => {
  const text = showConfig(settings(''));
  for (const [section, { options }] of Object.entries(table)) {
    t.true(text.includes(`[${section}]\n`));
    for (const name of Object.keys(options)) t.regex(text, new RegExp(`^${name} =.* # default$`, 'm'));
  }
  t.regex(text, /^cpu_allocation_ratio = <not set> +# default$/m);
  t.regex(text, /^http_listen = 127\.0\.0\.1:8790 +# default$/m);
  t.is(showConfig(settings(''), { changedOnly: true }), '');
});

test('no secret is shown, on whatever way it comes', (t) => {
  const text = showConfig(
    settings(
      [
        '[DEFAULT]', 'transport_url = rabbit://nova:hunter2@a:5672,nova:hunter2@b/v', 'instance_name_template = $neutron.password',
        '[neutron]', 'password = hunter2', 'endpoint_override = http://u:hunter2@n:9696/', 'auth_url = http://k/', 'username = "$password"', 'region_name = $username',
        '[glance]', 'api_servers = http://u:hunter2@g1,http://g2,http://u:hunter2@g3',
        '[oslo_messaging_notifications]', 'transport_url = rabbit://u:hunter2@@odd/', '[placement]', 'application_credential_secret = hunter2', 'password =',
      ].join('\n'),
    ),
  );
  t.false(text.includes('hunter2'));
  t.regex(text, /^transport_url = rabbit:\/\/nova:\*\*\*@a:5672,nova:\*\*\*@b\/v +# /m);
  t.regex(text, /^api_servers = http:\/\/u:\*\*\*@g1,http:\/\/g2,http:\/\/u:\*\*\*@g3 +# /m);
  t.regex(text, /^auth_url = http:\/\/k\/ +# /m);
  t.regex(text, /^region_name = \*\*\* +# /m);
  t.regex(text, /^password = \*\*\* +# /m);
  t.regex(text, /^password = +# /m, 'that a secret is empty may be seen');
});

for (const [url, shown] of [
  ['rabbit://', 'rabbit://'],
  ['rabbit://h', 'rabbit://h'],
  ['rabbit://u:p@h:5672/', 'rabbit://u:***@h:5672/'],
  ['rabbit://u@h/', 'rabbit://u@h/'],
  ['rabbit://u:@h/', 'rabbit://u:***@h/'],
  ['rabbit://u:p@h1,u2:p2@[::1]:5672/v?ssl=1', 'rabbit://u:***@h1,u2:***@[::1]:5672/v?ssl=1'],
  ['rabbit://u:p@ss@h/', 'rabbit://u:***@h/'],
  ['rabbit://u:p:q@h/', 'rabbit://u:***@h/'],
  ['rabbit://u:pa/ss@h/', '***'],
  ['rabbit://u:pa#ss@h/', '***'],
  ['rabbit://u:pa?ss@h/', '***'],
  ['rabbit://u:pa,ss@h/', '***'],
  ['rabbit://u:p@h?password=x@y', '***'],
  [' rabbit://u:p@h/', '***'],
  ['kombu+memory:////', 'kombu+memory:////'],
  ['a/b', 'a/b'],
] as const) {
  test(`masking ${url}`, (t) => t.is(maskUrl(url), shown));
}

test('nearest name', (t) => {
  const names = Object.keys(table.haulier.options);
  t.is(nearest('subid_bse', names), 'subid_base');
  t.is(nearest('RUN-PATH', names), 'run_path');
  t.is(nearest('pid_limit', names), 'pids_limit');
  t.is(nearest('completely_different', names), undefined);
  t.is(nearest('x', names), undefined);
});
