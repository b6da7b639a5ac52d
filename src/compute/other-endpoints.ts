/** The small endpoints beside 6.x: `baseapi`, and 5.13, which maps the old argument lists (nova/baserpc.py, `_ComputeV5Proxy`). */
import type { Endpoint } from '../messaging/types.js';

/** `baseapi` 1.1: ping and get_backdoor_port. */
export const baseEndpoint: Endpoint = {
  namespace: 'baseapi',
  version: '1.1',
  has: (method) => method === 'ping' || method === 'get_backdoor_port',
  handle: (request) => Promise.resolve(request.method === 'ping' ? { service: 'compute', arg: request.args['arg'] ?? null } : null),
};

const flavorMethods = new Set(['prep_resize', 'resize_instance', 'prep_snapshot_based_resize_at_dest']);
/** Arguments of 5.x that 6.0 no longer has (nova/compute/manager.py `_ComputeV5Proxy`). */
const dropped: Readonly<Record<string, readonly string[]>> = {
  check_instance_shared_storage: ['instance'],
  pre_live_migration: ['block_migration'],
  finish_snapshot_based_resize_at_dest: ['request_spec'],
  prep_snapshot_based_resize_at_dest: ['request_spec'],
};

/** Arguments that 5.x senders may leave out and 6.0 demands. */
const added: Readonly<Record<string, readonly string[]>> = {
  build_and_run_instance: ['accel_uuids'], rebuild_instance: ['accel_uuids'], shelve_instance: ['accel_uuids'], shelve_offload_instance: ['accel_uuids'],
  unshelve_instance: ['accel_uuids', 'request_spec'], resize_instance: ['request_spec'], finish_resize: ['request_spec'],
  revert_resize: ['request_spec'], finish_revert_resize: ['request_spec'],
};

/** 5.13 in terms of the 6.x endpoint. */
export function v5Endpoint(current: Endpoint): Endpoint {
  return {
    namespace: undefined,
    version: '5.13',
    has: (method) => current.has(method),
    handle: (request) => {
      const args: Record<string, unknown> = { ...request.args };
      for (const name of dropped[request.method] ?? []) delete args[name];
      for (const name of added[request.method] ?? []) args[name] ??= null;
      if (flavorMethods.has(request.method) && 'instance_type' in args) {
        args['flavor'] = args['instance_type'];
        delete args['instance_type'];
      }
      return current.handle({ ...request, args });
    },
  };
}
