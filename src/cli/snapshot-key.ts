/** `haulier snapshot-key`. */
import type { LoadedConfig } from '../base/config/load.js';
import { HaulierError } from '../base/errors.js';
import { addKey } from '../container/memory-image/keys.js';

/** Makes a key, in front of the old ones: from now on it seals, and they only open. Never shows it. @throws SNAPSHOT_KEY */
export async function makeSnapshotKey(loaded: LoadedConfig, print: (line: string) => void): Promise<number> {
  const path = loaded.config.haulier.snapshot_key;
  if (path === undefined) throw new HaulierError('SNAPSHOT_KEY', { reason: 'it is not set' });
  const keys = await addKey(path);
  print(`${path}: ${keys === 1 ? 'a new key' : `a new key in front of ${keys - 1}`}; copy the file to every host of the deployment, mode 600`);
  return 0;
}
