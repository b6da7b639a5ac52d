import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { silentLog } from '../../../src/base/log.js';
import { createOpenstack } from '../../../src/openstack/openstack.js';
import { asService, StandIn } from './stand-in.js';

const folder = mkdtempSync(join(tmpdir(), 'haulier-tls-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const cafile = join(folder, 'cert.pem');
const keyfile = join(folder, 'key.pem');
const made = spawnSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=stand-in', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', keyfile, '-out', cafile]);
const withOpenssl = made.status === 0 ? test : (title: string) => test(title, (t) => { t.log('SKIPPED: openssl is missing or cannot make a certificate'); t.pass(); });

withOpenssl('TLS: trusted with cafile, refused without, taken with insecure', async (t) => {
  const server = await StandIn.start({ cert: readFileSync(cafile, 'utf8'), key: readFileSync(keyfile, 'utf8') });
  t.teardown(() => server.stop());
  server.handler = () => ({ body: { networks: [] } });
  const make = (more: object) => {
    const openstack = createOpenstack({ placement: server.section('placement', more), neutron: server.section('neutron', more), glance: { section: 'glance' } }, silentLog());
    t.teardown(() => openstack.close());
    return openstack.neutron.networks(asService, {});
  };
  t.deepEqual(await make({ cafile }), []);
  t.deepEqual(await make({ insecure: true }), []);
  const error = await t.throwsAsync(make({}), { code: 'REST_UNREACHABLE' });
  t.regex(error?.message ?? '', /self[- ]signed/i);
  t.is(server.logins.length, 2);
});
