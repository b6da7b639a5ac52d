/** The one place where Nova's Instance becomes a ContainerSpec: below it nobody sees a Nova object. */
import type { Compute } from './compute.js';
import { uuidOf } from './compute.js';
import { vifSpecs } from './network/vif-spec.js';
import { HaulierError } from '../base/errors.js';
import type { ContainerSpec, LimitSpec, NewIdentity } from '../container/spec.js';
import type { VifInfo } from '../nova/network-info.js';
import { instanceName } from '../nova/instance-name.js';
import type { NovaObject } from '../nova/object.js';

const sharesPerVcpu = 1024;

function integer(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  return Number.isInteger(value) ? value : undefined;
}

/** Limits of a flavor and its `quota:cpu_*` extra specs (contract I): Nova's quota is per vCPU. */
export function limitsOf(flavor: NovaObject, pidsLimit: number): LimitSpec {
  const specs = flavor.strings('extra_specs');
  const vcpus = flavor.number('vcpus') ?? 1;
  const quota = integer(specs['quota:cpu_quota']);
  return {
    vcpus,
    cpuShares: integer(specs['quota:cpu_shares']) ?? sharesPerVcpu * vcpus,
    cpuQuota: quota === undefined || quota < 0 ? quota : quota * vcpus,
    cpuPeriod: integer(specs['quota:cpu_period']),
    memoryMiB: flavor.number('memory_mb') ?? 64,
    swapMiB: flavor.number('swap') ?? 0,
    pids: pidsLimit,
    rootGiB: flavor.number('root_gb') ?? 0,
  };
}

/** What a server that resumes from another one's memory makes anew, `keys,machine-id`: the server's property, a hint of its boot, or its image's property. */
export const identityProperty = 'haulier:new_identity';

const isIdentity = (word: string): word is NewIdentity => word === 'keys' || word === 'machine-id';

/** @throws UNSUPPORTED for a word that nobody knows */
function newIdentity(instance: NovaObject): readonly NewIdentity[] {
  const system = instance.strings('system_metadata');
  const said = instance.strings('metadata')[identityProperty] ?? system[identityProperty] ?? system[`image_${identityProperty}`] ?? '';
  return said.split(',').map((word) => word.trim()).filter(Boolean).map((word) => {
    if (!isIdentity(word)) throw new HaulierError('UNSUPPORTED', { what: `${identityProperty}=${word} (known: keys, machine-id)` });
    return word;
  });
}

/**
 * The container of a server.
 * @throws VIF_UNSUPPORTED, UNSUPPORTED
 */
export function containerSpec(compute: Compute, instance: NovaObject, imageId: string, vifs: readonly VifInfo[], templates: readonly string[] = []): ContainerSpec {
  const flavor = instance.object('flavor');
  if (!flavor) throw new Error(`Instance ${uuidOf(instance)} came without its flavor`);
  return {
    id: uuidOf(instance),
    name: instanceName(instance, compute.settings.instanceNameTemplate),
    hostname: instance.text('hostname') ?? 'container',
    imageId,
    ...(templates.length > 0 ? { templates } : {}),
    limits: limitsOf(flavor, compute.settings.pidsLimit),
    vifs: vifSpecs(vifs),
    newIdentity: newIdentity(instance),
    init: undefined,
    env: {},
    labels: {
      display_name: instance.text('display_name') ?? '',
      project_id: instance.text('project_id') ?? '',
      user_id: instance.text('user_id') ?? '',
      flavor: flavor.text('name') ?? '',
    },
  };
}
