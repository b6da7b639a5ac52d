/** Key pairs of the project. */
import { generateKeyPairSync } from 'node:crypto';
import type { Scene } from './scene.js';

/** A key as `ssh-keygen -t ed25519` writes it (RFC 8709). */
function sshKey(): string {
  const raw = generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'der' }).subarray(-32);
  const field = (bytes: Buffer): Buffer => Buffer.concat([Buffer.from([0, 0, 0, bytes.length]), bytes]);
  return `ssh-ed25519 ${Buffer.concat([field(Buffer.from('ssh-ed25519')), field(raw)]).toString('base64')} ct`;
}

/** Makes a key pair that goes with the test. @returns its public key */
export async function keyPair(scene: Scene, name: string): Promise<string> {
  const { admin } = scene;
  const key = sshKey();
  await admin.raw('nova', 'DELETE', `/v2.1/os-keypairs/${name}`);
  await admin.call('nova', 'POST', '/v2.1/os-keypairs', { keypair: { name, public_key: key, type: 'ssh' } });
  scene.after(() => admin.remove('nova', `/v2.1/os-keypairs/${name}`));
  return key;
}
