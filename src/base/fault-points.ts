/**
 * Named points at which a test can make the service die or fail: `HAULIER_FAULT=kill:boot.rootfs,fail:delete.unplug:2`.
 * `kill` is kill -9 of this process; `stop` stops it (SIGSTOP), for whoever wants to do something in that moment; `fail` throws FAULT_INJECTED;
 * a number limits how often it fires.
 */
import { HaulierError } from './errors.js';

interface Fault { readonly kind: 'kill' | 'stop' | 'fail'; left: number }

const faults = new Map<string, Fault>();
for (const entry of (process.env['HAULIER_FAULT'] ?? '').split(',').filter(Boolean)) {
  const [kind, point, times] = entry.split(':');
  if ((kind === 'kill' || kind === 'stop' || kind === 'fail') && point) faults.set(point, { kind, left: times ? Number(times) : Infinity });
}

/** Every point that was passed, for tests that list them. */
export const passedFaultPoints = new Set<string>();

/** Marks a point. Does nothing unless a test asked for a fault here. */
export function faultPoint(name: string): void {
  passedFaultPoints.add(name);
  const fault = faults.get(name);
  if (!fault || fault.left <= 0) return;
  fault.left--;
  if (fault.kind === 'kill') process.kill(process.pid, 'SIGKILL');
  if (fault.kind === 'stop') return void process.kill(process.pid, 'SIGSTOP');
  throw new HaulierError('FAULT_INJECTED', { point: name });
}
