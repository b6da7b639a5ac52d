/** What the tests of suspend, resume and verdict share. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../../src/base/run.js';
import { cgroupFolders, readCgroupLayout } from '../../../src/container/cgroup.js';
import { pidsWithArgument } from '../../../src/container/process.js';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { hostProblem, type Bed } from './harness.js';

/** Why nothing can be frozen here; undefined if it can. */
export async function criuProblem(): Promise<string | undefined> {
  return hostProblem() ?? (await run('criu', ['check']).then(() => undefined, (error: Error) => `criu cannot work here: ${error.message}`));
}

/** What a suspended container must not leave on its host, in words. */
export async function leftOvers(bed: Bed, spec: ContainerSpec): Promise<string[]> {
  const left: string[] = [];
  const note = (what: string, found: boolean): void => { if (found) left.push(what); };
  note('mount', (await readFile('/proc/self/mountinfo', 'utf8')).includes(spec.id));
  for (const folder of cgroupFolders(await readCgroupLayout(), join(bed.options.cgroupParent, spec.id))) note(folder, existsSync(folder));
  for (const folder of ['exits', 'ports', 'runc']) note(`run/${folder}`, existsSync(join(bed.options.runPath, folder, spec.id)));
  for (const vif of spec.vifs) note(`device ${vif.hostDevice}`, existsSync(`/sys/class/net/${vif.hostDevice}`));
  const pids = await pidsWithArgument(spec.id);
  note(`processes ${pids.join(' ')}`, pids.length > 0);
  return left;
}
