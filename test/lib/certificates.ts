/** A deployment's authority and its hosts' certificates, for tests; the devstack makes its own in devstack/lib/certs.sh. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Files of one host, as in `[haulier]`. */
export interface HostFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc'];

function openssl(...args: string[]): void {
  const { status, stderr } = spawnSync('openssl', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`openssl ${args[0]}: ${stderr}`);
}

/** An authority in a folder of its own. */
export class Authority {
  readonly folder = mkdtempSync(join(tmpdir(), 'haul-certs-'));
  readonly ca = join(this.folder, 'ca.pem');

  constructor() {
    openssl('req', '-x509', ...curve, '-days', '2', '-subj', '/CN=haulier test authority', '-keyout', join(this.folder, 'ca.key'), '-out', this.ca);
  }

  /** @param days negative: expired */
  host(name: string, days = 2): HostFiles {
    const path = (end: string): string => join(this.folder, `${name}.${end}`);
    writeFileSync(path('ext'), `subjectAltName=DNS:${name}\nextendedKeyUsage=serverAuth,clientAuth\n`);
    openssl('req', ...curve, '-subj', `/CN=${name}`, '-keyout', path('key'), '-out', path('csr'));
    openssl('x509', '-req', '-in', path('csr'), '-CA', this.ca, '-CAkey', join(this.folder, 'ca.key'), '-CAcreateserial', '-days', String(days), '-extfile', path('ext'), '-out', path('pem'));
    return { ca: this.ca, cert: path('pem'), key: path('key') };
  }
}
