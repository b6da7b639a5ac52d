/** The service dies by kill -9 at every named step of a container's life; the next one finds what is there, and destroy removes all of it. */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import anyTest, { type TestFn } from 'ava';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../../../src/base/run.js';
import { cgroupFolders, readCgroupLayout } from '../../../src/container/cgroup.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import { containerFaultPoints } from '../../../src/container/steps.js';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { startSwitch, switchProblem } from '../network/switch.js';
import { hostProblem, log, makeBed, makeSpec, makeVif, operate, pidsWithArgument, until, type Bed } from './harness.js';

const problem = hostProblem() ?? switchProblem();
const test = anyTest as TestFn<{ bed: Bed; database: string; end: () => Promise<void> }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/fault: ${problem}\n`);

const child = join(dirname(fileURLToPath(import.meta.url)), 'fault-child.js');

test.before(async (t) => {
  if (problem !== undefined) return;
  await run('ip', ['link', 'set', 'lo', 'up']);
  const ovs = await startSwitch();
  await run('ovs-vsctl', [`--db=${ovs.database}`, '--', 'add-br', 'br-f', '--', 'set', 'Bridge', 'br-f', 'datapath_type=netdev']);
  const bed = await makeBed({ ovsdbConnection: ovs.database });
  t.context = { bed, database: ovs.database, end: async () => { await bed.end(); await run('ovs-vsctl', [`--db=${ovs.database}`, 'del-br', 'br-f']); await ovs.stop(); } };
});
test.after.always(async (t) => {
  await t.context.end?.();
});

/** What is left of a container on this host, in words. */
async function traces(bed: Bed, spec: ContainerSpec, database: string): Promise<string[]> {
  const left: string[] = [];
  const note = (what: string, found: boolean): void => { if (found) left.push(what); };
  note('mount', (await readFile('/proc/self/mountinfo', 'utf8')).includes(spec.id));
  note('loop device', (await run('losetup', ['-a'])).stdout.includes(spec.id));
  for (const folder of cgroupFolders(await readCgroupLayout(), join(bed.options.cgroupParent, spec.id))) note(folder, existsSync(folder));
  note('directory', existsSync(join(bed.options.instancesPath, spec.id)));
  for (const folder of ['containers', 'exits', 'ports', 'runc']) note(`run/${folder}`, (await readdir(join(bed.options.runPath, folder)).catch((): string[] => [])).includes(spec.id));
  note('OVS port', (await run('ovs-vsctl', [`--db=${database}`, '--bare', '--columns=name', 'find', 'Interface', `external_ids:vm-uuid=${spec.id}`])).stdout.trim() !== '');
  for (const device of await readdir('/sys/class/net')) note(`device ${device}`, spec.vifs.some((vif) => device.endsWith(vif.id.slice(0, 11))));
  const pids = await pidsWithArgument(spec.id);
  note(`processes ${pids.join(' ')}`, pids.length > 0);
  return left;
}

for (const point of containerFaultPoints) {
  real(`killed at ${point}`, async (t) => {
    const { bed, database } = t.context;
    const spec = makeSpec(bed.image, {
      vifs: [makeVif({ type: 'ovs', bridge: 'br-f', hybrid: false, createPort: true, datapathType: undefined }, 0), makeVif({ type: 'ovs', bridge: 'br-f', hybrid: true, createPort: true, datapathType: undefined }, 1)],
    });
    const action = point.split('.')[1] ?? '';
    if (action !== 'create') await operate((operation) => bed.host.create(spec, operation));
    if (action === 'stop' || action === 'destroy') await operate((operation) => bed.host.startContainer(spec.id, operation));
    await bed.host.stop();
    const end = await run(process.execPath, [child, JSON.stringify(bed.options), JSON.stringify(spec), action], { env: { ...process.env, HAULIER_FAULT: `kill:${point}` } }).then(() => 'went through', (error: Error) => error.message);
    t.regex(end, /signal SIGKILL/);

    const next = new LocalContainerHost(bed.options, log);
    await next.start();
    const { state } = await next.view(spec.id);
    t.true(['running', 'stopped', 'missing'].includes(state), `state ${state}`);
    await operate((operation) => next.destroy(spec.id, operation));
    const left = await traces(bed, spec, database);
    if (left.length > 0) await until(`nothing left of it: ${left.join(', ')}`, async () => (await traces(bed, spec, database)).length === 0);
    t.deepEqual(await traces(bed, spec, database), []);
    await operate((operation) => next.destroy(spec.id, operation)); // what never was
    await next.stop();
    await bed.host.start();
  });
}

real('killed at any moment of a start', async (t) => {
  const { bed, database } = t.context;
  for (let delay = 120; delay <= 420; delay += 25) {
    const spec = makeSpec(bed.image, { vifs: [makeVif({ type: 'ovs', bridge: 'br-f', hybrid: false, createPort: true, datapathType: undefined }, 0)] });
    await operate((operation) => bed.host.create(spec, operation));
    await bed.host.stop();
    const service = spawn(process.execPath, [child, JSON.stringify(bed.options), JSON.stringify(spec), 'start'], { stdio: 'inherit' });
    await sleep(delay);
    service.kill('SIGKILL');
    if (service.exitCode === null && service.signalCode === null) await once(service, 'exit');
    await bed.host.start();
    const { state } = await bed.host.view(spec.id);
    await operate((operation) => bed.host.destroy(spec.id, operation));
    t.deepEqual(await traces(bed, spec, database), [], `killed after ${delay} ms, found ${state}`);
  }
});
