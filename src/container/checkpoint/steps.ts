/** The named steps of a freeze to disk and of the way back; a test can make the service die at each. */

/** In the order in which they are passed. */
export const checkpointFaultPoints = [
  'container.suspend.record',
  'container.suspend.prepare',
  'container.suspend.freeze',
  'container.suspend.close',
  'container.suspend.dump',
  'container.suspend.dumped',
  'container.suspend.commit',
  'container.suspend.kill',
  'container.suspend.runtime',
  'container.suspend.unmount',
  'container.suspend.recorded',
  'container.suspend.done',
  'container.resume.record',
  'container.resume.mount',
  'container.resume.plug',
  'container.resume.bundle',
  'container.resume.groups',
  'container.resume.pages',
  'container.resume.ready',
  'container.resume.restore',
  'container.resume.restored',
  'container.resume.identity', // only for one that came with an image
  'container.resume.recorded',
  'container.resume.done',
] as const;

/** Of a crash dump, in order; until `written` the container stands still. */
export const crashDumpFaultPoints = [
  'container.crashdump.record',
  'container.crashdump.prepare',
  'container.crashdump.freeze',
  'container.crashdump.dump',
  'container.crashdump.dumped',
  'container.crashdump.thawed',
  'container.crashdump.written',
  'container.crashdump.kept',
] as const;
