import anyTest, { type TestFn } from 'ava';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../../../src/base/run.js';
import { bootGuest, guestSystems, shell } from './guest-systems.js';
import { makeBed, operate, type Bed } from './harness.js';
const test = anyTest as TestFn<{ bed: Bed }>;
test('x', async (t) => {
  const bed = await makeBed();
  try {
  const boot = async () => await bootGuest(bed, guestSystems[0]!, 'brqht9');
  let spec = await boot();

  for (const p of ['PAMName=login', 'DynamicUser=yes', 'PrivateNetwork=yes', 'PrivateUsers=yes']) {
    const out = await shell(bed, spec.id, `systemctl stop zz.service; systemctl reset-failed; systemd-run -q --unit zz -p ${p} tail -f /dev/null; sleep 0.3; systemctl is-active zz; grep tmp /proc/$(pidof tail)/mountinfo`);
    const verdict = await bed.host.verdict(spec.id);
    const s = await operate((o) => bed.host.suspend(spec.id, o)).then(() => 'dumped', (e) => 'NO ' + e.message);
    let r = '';
    let act = '';
    if (s === 'dumped') {
      r = await operate((o) => bed.host.resume(spec.id, o)).then(() => 'resumed', (e) => 'NO ' + e.message);
      if (r === 'resumed') act = await shell(bed, spec.id, 'systemctl is-active zz; systemctl restart zz; systemctl is-active zz');
      else { console.log((await run('sh', ['-c', `grep Error ${bed.options.instancesPath}/${spec.id}/checkpoint/work/restore.log | head -5; true`])).stdout); await operate((o) => bed.host.destroy(spec.id, o)); spec = await boot(); }
    }
    console.log(p, '|', out.replaceAll('\n', ';'), '|', verdict.findings.map((f) => f.code + ' ' + f.text).join('; '), '|', s, '|', r, '|', act.replaceAll('\n', ';'));
  }
  } finally { await bed.end(); }
  t.pass();
});
