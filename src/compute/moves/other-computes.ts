/** What one compute service asks of another (nova/compute/rpcapi.py, contract C.8). All listen on topic `compute`, also those that have `compute-alt`. */
import type { Compute } from '../compute.js';
import type { Target, WireContext } from '../../messaging/types.js';
import { toWire, type NovaObject } from '../../nova/object.js';

const at = (host: string): Target => ({ topic: 'compute', server: host, version: '6.0' });

async function cast(compute: Compute, host: string, method: string, args: Record<string, unknown>, context: WireContext): Promise<void> {
  // a host that is down has no queue: better told now than never
  await compute.rpc.cast(at(host), method, toWire(args) as Record<string, unknown>, context);
}

/** Casts resize_instance to the source. @throws MessageUndeliverable if the host is not there */
export function castResizeInstance(compute: Compute, context: WireContext, host: string, args: Record<'instance' | 'image' | 'migration' | 'flavor' | 'clean_shutdown' | 'request_spec', unknown>): Promise<void> {
  return cast(compute, host, 'resize_instance', args, context);
}

/** Casts finish_resize to the destination. @throws MessageUndeliverable */
export function castFinishResize(compute: Compute, context: WireContext, host: string, args: Record<'instance' | 'migration' | 'image' | 'disk_info' | 'request_spec', unknown>): Promise<void> {
  return cast(compute, host, 'finish_resize', args, context);
}

/** Casts confirm_resize to the source. @throws MessageUndeliverable */
export function castConfirmResize(compute: Compute, context: WireContext, host: string, args: Record<'instance' | 'migration', unknown>): Promise<void> {
  return cast(compute, host, 'confirm_resize', args, context);
}

/** Casts finish_revert_resize to the source. @throws MessageUndeliverable */
export function castFinishRevert(compute: Compute, context: WireContext, host: string, args: Record<'instance' | 'migration' | 'request_spec', unknown>): Promise<void> {
  return cast(compute, host, 'finish_revert_resize', args, context);
}

/** Tells the destination that the move was given up. @throws MessageUndeliverable */
export function castDropClaim(compute: Compute, context: WireContext, host: string, instance: NovaObject): Promise<void> {
  return cast(compute, host, 'drop_move_claim_at_destination', { instance }, context);
}

/** Asks another host whether it sees a mark. @throws RemoteFailure, MessagingTimeout */
export async function askSeesMark(compute: Compute, context: WireContext, host: string, mark: string): Promise<boolean> {
  return (await compute.rpc.call(at(host), 'check_instance_shared_storage', { data: { filename: mark } }, context)) === true;
}
