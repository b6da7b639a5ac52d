/** The arguments of build_and_run_instance, unpacked (contract C.3). */
import type { InstanceCall } from '../compute.js';
import { identityProperty } from '../container-spec.js';
import { memoryProperty } from '../memory-wish.js';
import type { WireContext } from '../../messaging/types.js';
import { NovaObject } from '../../nova/object.js';

/** A build as it was asked for. `args` stays whole: a reschedule sends it on. */
export interface BuildRequest {
  readonly context: WireContext;
  readonly instance: NovaObject;
  readonly uuid: string;
  readonly image: Readonly<Record<string, unknown>>;
  readonly node: string;
  readonly requestedNetworks: readonly NovaObject[];
  /** Ports that the user brought. */
  readonly requestedPorts: ReadonlySet<string>;
  readonly securityGroups: readonly string[];
  readonly filterProperties: Readonly<Record<string, unknown>>;
  /** Scheduler hint `group`: a server group's uuid or name. */
  readonly groupHint: string | undefined;
  /** Hints about snapshots with memory, by the name that they are kept under in the system metadata. */
  readonly memoryHints: Readonly<Record<string, string>>;
  readonly args: Readonly<Record<string, unknown>>;
}

/** Reads the call's arguments. */
export function buildRequest(call: InstanceCall): BuildRequest {
  const { args } = call;
  const requests = args['requested_networks'] instanceof NovaObject ? args['requested_networks'].objects() : [];
  const groups = Array.isArray(args['security_groups']) ? args['security_groups'] : [];
  return {
    context: call.context,
    instance: call.instance,
    uuid: call.uuid,
    image: (args['image'] ?? {}) as Record<string, unknown>,
    node: String(args['node'] ?? ''),
    requestedNetworks: requests,
    requestedPorts: new Set(requests.flatMap((request) => request.text('port_id') ?? [])),
    securityGroups: groups.filter((group): group is string => typeof group === 'string'),
    filterProperties: (args['filter_properties'] ?? {}) as Record<string, unknown>,
    groupHint: hint(args['request_spec'], 'group'),
    memoryHints: Object.fromEntries([memoryProperty, identityProperty].flatMap((name) => {
      const value = hint(args['request_spec'], name);
      return value === undefined ? [] : [[name, value]];
    })),
    args,
  };
}

/** The request spec keeps hints as lists (nova/objects/request_spec.py). */
export function hint(spec: unknown, name: string): string | undefined {
  const value: unknown = spec instanceof NovaObject ? (spec.get('scheduler_hints') as Record<string, unknown> | null | undefined)?.[name] : undefined;
  const first: unknown = Array.isArray(value) ? value[0] : value;
  return typeof first === 'string' && first !== '' ? first : undefined;
}
