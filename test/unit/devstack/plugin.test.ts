/**
 * DevStack's plugin, taken through all phases by `phases.sh` (stand-ins for DevStack's functions). With `DEVSTACK_TREE=FOLDER`, a checkout
 * of https://opendev.org/openstack/devstack, they are DevStack's own.
 */
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { packageRoot } from '../../../src/base/package-root.js';
import { run } from '../../../src/base/run.js';

test('all phases: n-cpu runs Haulier as root, all else of DevStack stays, clean leaves nothing', async (t) => {
  const work = await mkdtemp(join(tmpdir(), 'devstack-'));
  t.teardown(() => rm(work, { recursive: true, force: true }));
  const { stdout } = await run('bash', [join(packageRoot, 'test/unit/devstack/phases.sh'), packageRoot, work], { env: { ...process.env, LANG: 'C.UTF-8' } });
  const file = (name: string): string => readFileSync(join(work, name), 'utf8');
  const calls = file('calls');

  t.regex(stdout, /^driver haulier$/m);
  t.regex(stdout, /^images http:\/\/a\.example\/own\.img haulier-busybox$/m, 'the user\'s images stay, those of virtual machines go');
  t.regex(stdout, /^services .*\bn-sproxy\b/m);
  for (const name of ['runc', 'conmon', 'bubblewrap', 'e2fsprogs', 'xz-utils', 'zstd', 'perl-base', 'npm']) t.regex(stdout, new RegExp(`^packages .*\\b${name}\\b`, 'm'));

  t.regex(calls, /^npm ci .*\nnpm run build$/m);
  t.is(file('units'), `unit n-cpu User=root ExecStart=${work}/data/haulier/bin/nova-compute --config-file ${work}/etc/nova-cpu.conf\n`);
  t.regex(stdout, /^after stack: \/usr\/local\/bin stack$/m, 'only the compute service is another program and user');
  const config = file('etc/nova-cpu.conf');
  t.regex(config, /^\[haulier\]$/m);
  for (const line of [`run_path = ${work}/run`, 'http_listen = 127.0.0.1:8790', `snapshot_key = ${work}/data/haulier/snapshot.key`]) t.is(config.split('\n').filter((one) => one === line).length, 1, line);
  t.regex(calls, new RegExp(`^sudo ${work}/data/haulier/bin/haulier --config-file ${work}/etc/nova\\.conf snapshot-key$`, 'm'));
  t.regex(calls, /^openstack .*image create haulier-busybox --public --disk-format raw --container-format bare --file \S+busybox\.tar\.gz$/m);
  const tempest = file('etc/tempest.conf');
  for (const [feature, value] of [['suspend', 'True'], ['serial_console', 'True'], ['rescue', 'False'], ['live_migration', 'False']]) t.regex(tempest, new RegExp(`^${feature} = ${value}$`, 'm'));

  t.regex(calls, /^runc --root \S+\/run\/runc delete --force 11111111-1111-4111-8111-111111111111$/m);
  t.deepEqual([...calls.matchAll(/^umount (.*)$/gm)].map((match) => match[1]), [`${work}/data/nova/instances/1/root`, `${work}/data/nova/instances/1`], 'deepest first, and no others');
  t.false(existsSync(join(work, 'data/haulier')) || existsSync(join(work, 'run')));
  t.regex(stdout, /^without n-cpu: 0 calls$/m);
});
