/** Unmodified Debian systems (`devstack/cloud guest-images`) boot, run their services and shut down cleanly. */
import anyTest, { type TestFn } from 'ava';
import { programOf } from '../../../src/container/shutdown.js';
import { bootGuest, guestImageProblem, guestSystems, shell } from './guest-systems.js';
import { hostProblem, inside, makeBed, operate, type Bed } from './harness.js';

const problem = hostProblem() ?? guestImageProblem(...guestSystems.map(({ name }) => name));
const test = anyTest as TestFn<{ bed: Bed }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/debian: ${problem}\n`);

test.before(async (t) => {
  if (problem === undefined) t.context.bed = await makeBed();
});
test.after.always(async (t) => {
  await t.context.bed?.end();
});

for (const system of guestSystems) {
  real(system.name, async (t) => {
    const { bed } = t.context;
    const { host } = bed;
    const spec = await bootGuest(bed, system, 'brqht4');
    t.is(await programOf((await host.view(spec.id)).pid ?? 0), system.program);
    t.is(await shell(bed, spec.id, system.failed), '');
    for (const service of system.services) {
      const status = system.program === 'systemd' ? `systemctl is-active ${service}` : `service ${service} status >/dev/null && echo active`;
      t.is(await shell(bed, spec.id, status), 'active', service);
    }
    if (system.program === 'systemd') {
      t.is(await shell(bed, spec.id, 'systemd-run -q --wait true; echo $?'), '0');
      // systemd 252 knows no such setting, and no such watch
      if (system.name !== 'debian12') t.regex(await inside(bed, spec.id, 'systemctl', 'show', '-p', 'DefaultMemoryPressureWatch'), /=(off|no)$/);
    }
    const stop = performance.now();
    await operate((operation) => host.stopContainer(spec.id, { timeoutMs: 30_000, retryMs: 10_000 }, operation));
    t.log(`stopped in ${Math.round(performance.now() - stop)} ms`);
    t.like(await host.view(spec.id), { state: 'stopped', exitCode: 130 }, await host.consoleLog(spec.id, 20));
    await operate((operation) => host.destroy(spec.id, operation));
  });
}
