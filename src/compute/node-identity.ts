/** Who this node is: the `compute_id` file, the records that belong to it, and when not to start (nova/virt/node.py, contract D.4). */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import type { Node } from './compute.js';
import type { ComputeSettings } from './settings.js';
import { writeAtomic } from '../base/atomic.js';
import { HaulierError, isHaulierError, messageOf } from '../base/errors.js';
import type { WireContext } from '../messaging/types.js';
import { computeNodeByUuid, computeNodesOfHost } from '../nova/compute-node.js';
import type { NovaObject } from '../nova/object.js';
import type { Conductor } from '../nova/types.js';

const fileName = 'compute_id';
const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
/** From this service version on a node's uuid is stable and its file must be there. */
const stableSince = 65;

/** Reads every copy of the file; all must agree. @throws IDENTITY */
export async function readComputeId(settings: ComputeSettings): Promise<string | undefined> {
  let found: { uuid: string; path: string } | undefined;
  for (const folder of new Set([...settings.configDirs, settings.statePath])) {
    const path = join(folder, fileName);
    let uuid: string;
    try {
      uuid = (await readFile(path, 'utf8')).trim().toLowerCase();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
      throw new HaulierError('IDENTITY', { reason: `${path} cannot be read: ${messageOf(error)}`, damaged: true }, { cause: error });
    }
    if (!uuidPattern.test(uuid)) throw new HaulierError('IDENTITY', { reason: `${path} does not hold a uuid`, damaged: true });
    if (found && found.uuid !== uuid) throw new HaulierError('IDENTITY', { reason: `${found.path} and ${path} disagree` });
    found = { uuid, path };
  }
  return found?.uuid;
}

/**
 * Finds or makes this node's identity.
 * @param service the Service record, undefined for a new host
 * @param guests containers that are here already
 * @throws IDENTITY when the host was renamed, lost its file, or is new but not empty
 */
export async function nodeIdentity(conductor: Conductor, context: WireContext, settings: ComputeSettings, service: NovaObject | undefined, guests: number): Promise<Node> {
  const itsNodes = async (): Promise<readonly NovaObject[]> => (service ? await computeNodesOfHost(conductor, context, settings.host) : []);
  const expected = (nodes: readonly NovaObject[]): string => nodes.map((node) => node.text('uuid')).join(' or ') || 'the uuid of this node';
  const known = await readComputeId(settings).catch(async (error: unknown) => {
    if (!isHaulierError(error, 'IDENTITY') || error.details['damaged'] !== true) throw error;
    throw new HaulierError('IDENTITY', { reason: `${String(error.details['reason'])}; it should hold ${expected(await itsNodes())}` }, { cause: error });
  });
  if (!service && guests > 0) throw new HaulierError('IDENTITY', { reason: `no service record for host ${settings.host}, but ${guests} containers are here; has the host been renamed?` });
  if (!known) {
    const nodes = await itsNodes();
    // also where no node is found: a lost file is no reason to become somebody else (nova/compute/manager.py `_ensure_existing_node_identity`)
    if (service && conductor.release !== 'zed' && (service.number('version') ?? 0) >= stableSince) {
      throw new HaulierError('IDENTITY', { reason: `${join(settings.statePath, fileName)} is missing; it should hold ${expected(nodes)}` });
    }
    const existing = nodes.find((node) => node.text('hypervisor_hostname') === settings.hypervisorHostname);
    const uuid = existing?.text('uuid') ?? randomUUID();
    await mkdir(settings.statePath, { recursive: true });
    await writeAtomic(join(settings.statePath, fileName), uuid, 0o644);
    return { id: existing?.number('id') ?? 0, uuid, hypervisorHostname: settings.hypervisorHostname };
  }
  const record = await computeNodeByUuid(conductor, context, known);
  if (record && (record.text('host') !== settings.host || record.text('hypervisor_hostname') !== settings.hypervisorHostname)) {
    throw new HaulierError('IDENTITY', { reason: `node ${known} is known as ${record.text('host')}/${record.text('hypervisor_hostname')}, not ${settings.host}/${settings.hypervisorHostname}` });
  }
  return { id: record?.number('id') ?? 0, uuid: known, hypervisorHostname: settings.hypervisorHostname };
}
