/** The ways in which systemd shuts a service in, on Debian 13: where the verdict says yes it is dumped and restored, and can be restarted; where no, the dump fails. */
import anyTest, { type TestFn } from 'ava';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { criuProblem } from './checkpoint-kit.js';
import { bootGuest, guestImageProblem, guestSystems, shell, succeeds } from './guest-systems.js';
import { makeBed, operate, type Bed } from './harness.js';

const problem = (await criuProblem()) ?? guestImageProblem('debian13');
const test = anyTest as TestFn<{ bed: Bed; spec: ContainerSpec }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/verdict-units: ${problem}\n`);

test.before(async (t) => {
  if (problem !== undefined) return;
  const bed = await makeBed();
  t.context = { bed, spec: undefined as unknown as ContainerSpec };
  t.context.spec = await bootGuest(bed, guestSystems[0]!, 'brqht5');
});
test.after.always(async (t) => {
  await t.context.bed?.end();
});

/** systemd.exec(5) and systemd.resource-control(5) */
const carried = [
  'PrivateTmp=yes', 'ProtectSystem=strict', 'ProtectHome=tmpfs', 'PrivateDevices=yes', 'ProtectKernelTunables=yes', 'ProtectProc=invisible', 'ProtectControlGroups=yes', 'RestrictNamespaces=yes',
  'SystemCallFilter=@system-service', 'ProtectHostname=yes', 'PrivateMounts=yes', 'NoNewPrivileges=yes', 'TemporaryFileSystem=/opt', 'MemoryDenyWriteExecute=yes', 'ProtectClock=yes',
  'KeyringMode=private', 'IPAddressDeny=any', 'CPUQuota=50%', 'Delegate=yes', 'StandardOutput=tty', 'BindPaths=/etc:/opt', 'LoadCredential=x:/etc/hostname', 'RuntimeDirectory=xx', 'PAMName=login',
];

const refused = [
  { property: 'PrivateNetwork=yes', code: 'nested-namespaces' },
  { property: 'PrivateUsers=yes', code: 'nested-namespaces' },
  { property: 'PrivateIPC=yes', code: 'nested-namespaces' },
  { property: 'PrivatePIDs=yes', code: 'nested-namespaces' },
  { property: 'DynamicUser=yes', code: 'partial-mounts' },
];

const start = (unit: string, property: string): string => `systemd-run -q --service-type=exec --unit ${unit} -p ${property} -p KillSignal=KILL -p SuccessExitStatus=KILL tail -f /dev/null && systemctl is-active ${unit}`;

real('yes: all of them at once', async (t) => {
  const { bed, spec } = t.context;
  for (const [index, property] of carried.entries()) t.true(await succeeds(bed, spec.id, start(`yes${index}`, property)), property);
  t.deepEqual((await bed.host.verdict(spec.id)).findings, []);
  await operate((operation) => bed.host.suspend(spec.id, operation));
  await operate((operation) => bed.host.resume(spec.id, operation));
  for (const [index, property] of carried.entries()) t.true(await succeeds(bed, spec.id, `systemctl is-active yes${index} && timeout 10 systemctl restart yes${index} && systemctl is-active yes${index} && systemctl stop yes${index}`), property);
  t.is(await shell(bed, spec.id, 'systemctl --failed --no-legend'), '');
});

for (const { property, code } of refused) {
  real(`no: ${property}`, async (t) => {
    const { bed, spec } = t.context;
    t.true(await succeeds(bed, spec.id, start('no', property)));
    const { freezable, findings } = await bed.host.verdict(spec.id);
    const error = await t.throwsAsync(operate((operation) => bed.host.suspend(spec.id, operation)), { name: 'SUSPEND_FAILED' });
    t.log(`${findings.map(({ text }) => text).join('; ')}; criu: ${error?.message}`);
    t.false(freezable);
    t.deepEqual([...new Set(findings.map((finding) => finding.code))], [code]);
    t.true(await succeeds(bed, spec.id, 'systemctl is-active no && systemctl stop no'));
  });
}
