/**
 * An unmodified Debian 13 under systemd is resumed lazily: the same processes, no failed unit, a connection to nginx that is held. One
 * whose services have a short watchdog is resumed in full: the watchdog would kill what waits for its pages.
 */
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import { lazyProblem } from '../../../src/container/checkpoint/lazy.js';
import { wasLazy } from '../../../src/container/checkpoint/page-daemon.js';
import { checkpointPaths, type CheckpointPaths } from '../../../src/container/checkpoint/paths.js';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { criuProblem, leftOvers } from './checkpoint-kit.js';
import { bootGuest, guestImageProblem, guestSystems, shell, succeeds, untilAtRest, untilBooted, untilSettled } from './guest-systems.js';
import { makeBed, operate, until, type Bed } from './harness.js';

const setting = '/proc/sys/vm/unprivileged_userfaultfd';
const before = await readFile(setting, 'utf8').catch(() => '');
const allowed = await writeFile(setting, '1').then(() => undefined, (error: Error) => `${setting} cannot be set: ${error.message}`);
const problem = (await criuProblem()) ?? guestImageProblem('debian13') ?? allowed ?? (await lazyProblem({ criu: '/usr/sbin/criu' }));
const test = anyTest as TestFn<{ bed: Bed }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/lazy-guests: ${problem}\n`);

const bridge = 'brqglz';
const address = '10.90.0.5';
const rounds = 3;
const debian = guestSystems.find(({ name }) => name === 'debian13')!;

test.before(async (t) => {
  if (problem !== undefined) return;
  t.context.bed = await makeBed({ lazyResume: 'auto' });
  await run('ip', ['link', 'add', bridge, 'type', 'bridge']);
  await run('ip', ['addr', 'add', '10.90.0.1/24', 'dev', bridge]);
  await run('ip', ['link', 'set', bridge, 'up']);
});
test.afterEach.always(async (t) => {
  for (const view of (await t.context.bed?.host.list()) ?? []) await operate((operation) => t.context.bed.host.destroy(view.id, operation));
});
test.after.always(async (t) => {
  if (t.context.bed) {
    await t.context.bed.end();
    await run('ip', ['link', 'del', bridge]);
  }
  if (allowed === undefined) await writeFile(setting, before);
});

/** A service with 114 MiB of memory of known content; `/run/sum` is made anew at each SIGUSR1. */
const ballast = 'srand 7; my $x = join("", map { chr(33 + rand 90) } 1..1000) x 120000; $SIG{USR1} = sub { open(my $f, ">", "/run/sum.tmp"); print $f unpack("%32C*", $x); close $f; rename "/run/sum.tmp", "/run/sum" }; kill "USR1", $$; sleep 1 while 1';

async function boot(bed: Bed): Promise<ContainerSpec> {
  const spec = await bootGuest(bed, debian, bridge);
  await shell(bed, spec.id, `printf '%s' '${ballast}' >/run/ballast; systemd-run --unit=ballast perl /run/ballast`);
  await until('its memory is filled', () => succeeds(bed, spec.id, '[ -s /run/sum ]'), 60_000);
  return spec;
}

async function sum(bed: Bed, id: string): Promise<string> {
  await shell(bed, id, 'rm -f /run/sum; systemctl kill -s USR1 ballast');
  return await until('it has summed its memory', () => shell(bed, id, 'cat /run/sum 2>/dev/null'), 60_000);
}

const pathsOf = (bed: Bed, id: string): CheckpointPaths => checkpointPaths({ folder: join(bed.options.instancesPath, id) });

real('three rounds: the same processes, no failed unit, nothing spins, a connection held', async (t) => {
  const { bed } = t.context;
  const { host } = bed;
  const { id, ...rest } = await boot(bed);
  const line = await until('a connection', () => new Promise<ReturnType<typeof connect> | undefined>((resolve) => {
    const made: ReturnType<typeof connect> = connect(80, address, () => resolve(made)).once('error', () => resolve(undefined));
  }));
  t.teardown(() => { line.destroy(); });
  let heard = '';
  let ended = false;
  line.on('data', (data: Buffer) => { heard += data.toString(); }).on('close', () => { ended = true; }).on('error', () => undefined);
  const asks = async (): Promise<void> => {
    heard = '';
    line.write('GET / HTTP/1.1\r\nHost: guest\r\n\r\n');
    await until('an answer of nginx', () => ended || /^HTTP\/1\.1 200 OK[^]*<\/html>/.test(heard));
    t.false(ended, 'the connection is held');
  };
  await asks();
  const whole = await sum(bed, id);
  const processes = await untilSettled(bed, id);
  for (let round = 1; round <= rounds; round++) {
    await operate((operation) => host.suspend(id, operation));
    t.deepEqual(await leftOvers(bed, { id, ...rest }), []);
    await operate((operation) => host.resume(id, operation));
    t.true((await wasLazy(pathsOf(bed, id))) || !existsSync(pathsOf(bed, id).folder), 'lazily');
    // while its pages come: forks, D-Bus, the journal
    t.true(await succeeds(bed, id, 'systemd-run -q --wait true && loginctl list-sessions && logger of-the-round && systemctl daemon-reload'));
    await asks();
    await until('the images are gone', () => !existsSync(pathsOf(bed, id).folder), 60_000);
    t.is(await untilSettled(bed, id), processes, `processes after round ${round}`);
    t.is(await shell(bed, id, debian.failed), '');
    t.is(await shell(bed, id, 'systemctl show -p NRestarts --value systemd-journald systemd-logind cron ssh dbus nginx ballast | grep -v "^0*$"'), '');
    await untilBooted(bed, id, debian);
    await untilAtRest(bed, id);
    t.is(await sum(bed, id), whole);
  }
});

real('services with a short watchdog: all memory is read first', async (t) => {
  const { bed } = t.context;
  const { host } = bed;
  const { id } = await boot(bed);
  await shell(bed, id, 'mkdir -p /etc/systemd/system/systemd-journald.service.d; printf "[Service]\\nWatchdogSec=20s\\n" >/etc/systemd/system/systemd-journald.service.d/short.conf; systemctl daemon-reload; systemctl restart systemd-journald');
  const whole = await sum(bed, id);
  const processes = await untilSettled(bed, id);
  await operate((operation) => host.suspend(id, operation));
  t.is((JSON.parse(await readFile(pathsOf(bed, id).meta, 'utf8')) as { watchdogSeconds?: number }).watchdogSeconds, 20);
  const folder = pathsOf(bed, id);
  await operate((operation) => host.resume(id, operation));
  t.false(await wasLazy(folder));
  t.is(await untilSettled(bed, id), processes);
  t.is(await shell(bed, id, debian.failed), '');
  t.is(await sum(bed, id), whole);
});
