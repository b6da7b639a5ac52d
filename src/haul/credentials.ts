/**
 * Who may talk to whom: TLS 1.3 with certificates on both sides, from the deployment's own authority and no other. A host is who its
 * certificate says (a DNS name in subjectAltName): every haul names its peer, and the certificate must bear that name.
 */
import { readFile } from 'node:fs/promises';
import { checkServerIdentity, type SecureContextOptions, type TLSSocket } from 'node:tls';
import { HaulierError, messageOf } from '../base/errors.js';
import type { HaulSettings } from './settings.js';

/** What both sides' TLS is made with. */
export interface Credentials extends Pick<SecureContextOptions, 'ca' | 'cert' | 'key' | 'minVersion'> {
  readonly minVersion: 'TLSv1.3';
}

/** Reads them; anew for every connection, so that renewed certificates count at once. @throws HAUL_OFF */
export async function readCredentials(settings: Pick<HaulSettings, 'ca' | 'cert' | 'key'>): Promise<Credentials> {
  const { ca, cert, key } = settings;
  if (!ca || !cert || !key) throw new HaulierError('HAUL_OFF', { reason: 'haul_ca, haul_cert and haul_key are not all set' });
  try {
    return { ca: await readFile(ca), cert: await readFile(cert), key: await readFile(key), minVersion: 'TLSv1.3' };
  } catch (error) {
    throw new HaulierError('HAUL_OFF', { reason: messageOf(error) }, { cause: error });
  }
}

/** True if the certificate that the other side has shown, and that its authority has signed, is that of the host `name`. */
export function isHost(socket: TLSSocket, name: string): boolean {
  const certificate = socket.getPeerCertificate();
  return socket.authorized && Object.keys(certificate).length > 0 && checkServerIdentity(name, certificate) === undefined;
}
