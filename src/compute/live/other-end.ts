/** What one end of a live migration asks of the other (nova/compute/rpcapi.py, contract C.9). */
import type { Compute } from '../compute.js';
import type { CallOptions, Target, WireContext } from '../../messaging/types.js';
import { NovaObject, parseValue, toWire } from '../../nova/object.js';
import { HaulierError } from '../../base/errors.js';

const at = (host: string): Target => ({ topic: 'compute', server: host, version: '6.0' });
/** `long_rpc_timeout`, with signs of life at half of the monitor's time. */
const long: CallOptions = { timeoutMs: 1_800_000, monitorMs: 60_000 };

async function call(compute: Compute, context: WireContext, host: string, method: string, args: Record<string, unknown>, options: CallOptions): Promise<unknown> {
  return parseValue(await compute.rpc.call(at(host), method, toWire(args) as Record<string, unknown>, context, options));
}

async function data(answer: Promise<unknown>, host: string): Promise<NovaObject> {
  const value = await answer;
  if (!(value instanceof NovaObject)) throw new HaulierError('LIVE_MIGRATION_REFUSED', { reason: `${host} answered with no migrate_data` });
  return value;
}

/** Asks the source. @throws RemoteFailure, MessagingTimeout */
export function askSource(compute: Compute, context: WireContext, host: string, args: Record<'instance' | 'dest_check_data', unknown>, signal?: AbortSignal): Promise<NovaObject> {
  return data(call(compute, context, host, 'check_can_live_migrate_source', args, signal ? { signal } : {}), host);
}

/** Has the destination prepare itself. @throws RemoteFailure, MessagingTimeout */
export function askToPrepare(compute: Compute, context: WireContext, host: string, args: Record<'instance' | 'disk' | 'migrate_data', unknown>, signal: AbortSignal): Promise<NovaObject> {
  return data(call(compute, context, host, 'pre_live_migration', args, { ...long, signal }), host);
}

/** Has the destination take the server over, which runs there. @throws RemoteFailure, MessagingTimeout */
export async function askToTakeOver(compute: Compute, context: WireContext, host: string, args: Record<'instance' | 'block_migration', unknown>, signal: AbortSignal): Promise<void> {
  await call(compute, context, host, 'post_live_migration_at_destination', args, { ...long, signal });
}

/** Tells the destination that it gets nothing. @throws MessageUndeliverable */
export async function castRollback(compute: Compute, context: WireContext, host: string, args: Record<'instance' | 'destroy_disks' | 'migrate_data', unknown>): Promise<void> {
  await compute.rpc.cast(at(host), 'rollback_live_migration_at_destination', toWire(args) as Record<string, unknown>, context);
}
