/**
 * Tells the neighbours where a guest's addresses are now. Without it whoever knew an earlier owner of an address asks him in vain for
 * about 9 s, and a switch sends frames of a moved MAC to its old port.
 */
import { join } from 'node:path';
import { messageOf } from '../../base/errors.js';
import { packageRoot } from '../../base/package-root.js';
import { run } from '../../base/run.js';
import type { HostParts } from '../parts.js';

const script = join(packageRoot, 'src/container/network/announce.sh');
const timeoutMs = 10_000;

/**
 * Announces every address of a container once, with ARP and neighbour discovery. Its ports must be wired, else nobody hears it. Does
 * nothing if it does not run. Never throws: a guest may have removed or renamed a device.
 * @param known its PID 1, where that is not on record yet
 */
export async function announce(parts: HostParts, id: string, known?: number): Promise<void> {
  try {
    const spec = await parts.store.readSpec(id);
    const pid = known ?? (await parts.store.running(id))?.pid;
    if (!spec || pid === undefined || spec.vifs.length === 0) return;
    await run('nsenter', [`--net=/proc/${pid}/ns/net`, 'sh', script, ...spec.vifs.map((vif) => vif.guestDevice)], { timeoutMs });
  } catch (error) {
    parts.log.debug({ err: error, instance: id }, `cannot announce its addresses: ${messageOf(error)}`);
  }
}
