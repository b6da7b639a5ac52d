/** What the tests of suspend, resume and verdict share. */
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { run } from '../../../src/base/run.js';
import { cgroupFolders, isFrozen, readCgroupLayout } from '../../../src/container/cgroup.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { hostProblem, log, pidsWithArgument, until, type Bed } from './harness.js';

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

/** The guest's counter. */
export async function counted(host: LocalContainerHost, id: string): Promise<number> {
  return Number(await readFile(`/proc/${(await host.view(id)).pid}/root/run/count`, 'utf8').catch(() => '0'));
}

/** It goes on: same PID 1, not frozen, counting, reachable, and nothing of the try is left. */
export async function goesOn(t: ExecutionContext, bed: Bed, host: LocalContainerHost, spec: ContainerSpec, pid: number | undefined): Promise<void> {
  t.like(await host.view(spec.id), { state: 'running', pid });
  t.false(await isFrozen(await readCgroupLayout(), join(bed.options.cgroupParent, spec.id)));
  const before = await counted(host, spec.id);
  await until('it counts on', async () => (await counted(host, spec.id)) > before);
  await until('its address answers', () => run('ping', ['-c1', '-W1', '10.90.0.5']).then(() => true, () => false), 30_000);
  t.false(existsSync(join(bed.options.instancesPath, spec.id, 'checkpoint')));
}

/** A folder with a `criu` that runs `script` where the runtime calls it, and `before` in every call; `$real` is the true one. */
export async function wrapper(script: string, before = ''): Promise<string> {
  const folder = await mkdtemp('/run/criu-');
  await writeFile(join(folder, 'criu'), `#!/bin/bash\nreal=/usr/sbin/criu\n${before}\n[ "$1" = swrk ] || exec $real "$@"\n${script}\n`);
  await chmod(join(folder, 'criu'), 0o755);
  return join(folder, 'criu');
}

/** criu gets SIGKILL in the middle of a dump, by its own fault injection (criu/include/fault-injection.h): its code is in the first process just then. */
export const killedInDump = 'CRIU_FAULT=1 exec $real "$@"';

/** The same, and a helper of it stays, which holds its end of the runtime's connection. */
export const killedInDumpWithHelper = `sleep 100 </dev/null >/dev/null 2>&1 &\n${killedInDump}`;

/** criu is stopped for three seconds in the middle of a dump. */
export const slowInDump = `$real "$@" &
criu=$!
until [ -s "$HAULIER_CHECKPOINT/work/dump.log" ] || ! [ -e /proc/$criu ]; do sleep 0.002; done
kill -STOP $criu 2>/dev/null; sleep 3; kill -CONT $criu 2>/dev/null
wait $criu`;

/** A script for `wrapper`: in a restore criu, or a process that it has half made, reads an image that gives nothing, until `then` has done what it wants with `$criu`, and with the image as descriptor 9. */
const inRestore = (image: string, then: string): string => `images=$HAULIER_CHECKPOINT/images
[ -f $images/${image} ] || exec $real "$@" # of a haul they have not come when the runtime asks for the version
mv $images/${image} $images/kept
mkfifo $images/${image}
chown --reference=$images/kept $images/${image}
$real "$@" &
criu=$!
( exec 9>$images/${image}; ${then} ) &
helper=$!
wait $criu
code=$?
[ $code = 137 ] || kill $helper 2>/dev/null # the runtime calls criu before that too, for its version
mv $images/kept $images/${image}
exit $code`;

/** criu gets SIGKILL in the middle of a restore, for certain; what it has half made stays. */
export const killedInRestore = inRestore('pagemap-1.img', 'kill -KILL $criu; exec sleep 1000');

/**
 * criu takes its time for a restore, and does nothing for a while. It is the runtime's own child, as always: not the shell's, whose
 * environment would still tell what criu has written over. The helper is nobody's child: criu looks after its own.
 */
export const slowInRestore = `images=$HAULIER_CHECKPOINT/images
[ -f $images/pstree.img ] || exec $real "$@"
mv $images/pstree.img $images/kept
mkfifo $images/pstree.img
chown --reference=$images/kept $images/pstree.img
( ( eval "exec $2>&-"; exec >/dev/null 2>&1 9>$images/pstree.img; sleep 4; mv $images/kept $images/pstree.img; cat $images/pstree.img >&9 ) & )
exec $real "$@"`;

/** Another service on the same containers, with another criu. */
export async function withCriu(bed: Bed, criu: string, work: (host: LocalContainerHost) => Promise<void>): Promise<void> {
  await bed.host.stop();
  const host = new LocalContainerHost({ ...bed.options, criu }, log);
  await host.start();
  try {
    await work(host);
  } finally {
    await host.stop();
    await bed.host.start();
  }
}
