/** The named steps of a live haul, where a test can make either service fail or die; each side's in the order in which it passes them. */
import { faultPoint } from '../../base/fault-points.js';
import type { Operation } from '../../base/operation.js';

/** The source's. */
export const sourceSteps = [
  'haul.source.preparing',
  'haul.source.offer',
  'haul.source.copy',
  'haul.source.freeze',
  'haul.source.difference',
  'haul.source.dump',
  'haul.source.memory',
  'haul.source.offered',
  'haul.source.restore',
  'haul.source.committed',
  'haul.source.kill',
  'haul.source.removed',
  'haul.source.gone',
  'haul.source.forget',
] as const;

/** The destination's. */
export const destinationSteps = [
  'haul.destination.preparing',
  'haul.destination.offer',
  'haul.destination.land',
  'haul.destination.plug',
  'haul.destination.prepared',
  'haul.destination.layer',
  'haul.destination.mount',
  'haul.destination.memory',
  'haul.destination.restoring',
  'haul.destination.restore',
  'haul.destination.restored',
  'haul.destination.committed',
  'haul.destination.open',
  'haul.destination.running',
  'haul.destination.settled',
] as const;

/** Those of some modes only: before the freeze, and when it runs before its memory is there. */
export const memorySteps = ['haul.source.ahead', 'haul.source.pages', 'haul.destination.pages'] as const;

/** Those of a haul by restart, in place of all between `copy` and `offered` at the source. */
export const restartSteps = ['haul.source.stop', 'haul.source.stopped'] as const;

/** One of them. */
export type HaulStep = (typeof sourceSteps)[number] | (typeof destinationSteps)[number] | (typeof memorySteps)[number] | (typeof restartSteps)[number];

/** Begins a step that can still be given up. */
export function haulStep(operation: Operation, step: HaulStep): void {
  operation.step(step);
  faultPoint(step);
}

/** Passes a step that cannot. */
export function settledStep(operation: Operation, step: HaulStep): void {
  operation.log.debug({ step }, 'step');
  faultPoint(step);
}
