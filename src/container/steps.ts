/** The named steps of a container's life, where a test can make the service fail or die. */
import { faultPoint } from '../base/fault-points.js';
import type { Operation } from '../base/operation.js';
import type { checkpointFaultPoints, crashDumpFaultPoints } from './checkpoint/steps.js';

/** Every fault point of this room's life cycle, in the order in which they are passed. */
export const containerFaultPoints = [
  'container.create.directory',
  'container.create.state',
  'container.create.disk',
  'container.create.record',
  'container.create.done',
  'container.start.record',
  'container.start.mount',
  'container.start.plug',
  'container.start.bundle',
  'container.start.monitor',
  'container.start.delegate',
  'container.start.ready',
  'container.start.run',
  'container.start.recorded',
  'container.start.done',
  'container.stop.record',
  'container.stop.ask',
  'container.stop.kill',
  'container.stop.runtime',
  'container.stop.unplug',
  'container.stop.unmount',
  'container.stop.done',
  'container.destroy.record',
  'container.destroy.runtime',
  'container.destroy.unplug',
  'container.destroy.unmount',
  'container.destroy.disk',
  'container.destroy.ids',
  'container.destroy.directory',
  'container.destroy.done',
] as const;

/** Passed only where a container is made from a snapshot with memory, before `container.create.record`. */
export const memoryBootFaultPoints = ['container.create.memory'] as const;

/** One of them, or one of a suspend, resume or crash dump. */
export type ContainerStep = (typeof containerFaultPoints)[number] | (typeof memoryBootFaultPoints)[number] | (typeof checkpointFaultPoints)[number] | (typeof crashDumpFaultPoints)[number];

/** Begins a step: names it for progress and log, stops if the operation was given up, and passes the fault point. */
export function beginStep(operation: Operation, name: ContainerStep): void {
  operation.step(name);
  faultPoint(name);
}

/** As `beginStep`, for a step of a clean-up: that goes on although the operation was given up. */
export function cleanupStep(operation: Operation, name: ContainerStep): void {
  operation.mark(name);
  faultPoint(name);
}
