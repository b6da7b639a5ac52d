/** Containers that run an application: its user, environment and folder, signals, exit codes, suspend and resume, and a snapshot that runs it again. */
import { createHash, randomUUID } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import anyTest, { type TestFn } from 'ava';
import { isHaulierError } from '../../../src/base/errors.js';
import { findCommand } from '../../../src/base/run.js';
import type { ImageSource } from '../../../src/container/spec.js';
import { dockerArchive, ociArchive } from '../storage/container-images.js';
import { handmadeTar, type Entry } from '../storage/helper.js';
import { criuProblem } from './checkpoint-kit.js';
import { hostProblem, inside, makeBed, makeSpec, operate, until, type Bed } from './harness.js';

const problem = hostProblem() ?? (findCommand('catatonit') === 'catatonit' ? 'no catatonit' : undefined);
const noCriu = problem ?? (await criuProblem());
const test = anyTest as TestFn<{ bed: Bed }>;
const real = problem === undefined ? test.serial : test.skip;
const frozen = noCriu === undefined ? test.serial : test.skip;
for (const [what, why] of [['application', problem], ['application, suspended', noCriu]]) if (why !== undefined) process.stderr.write(`SKIPPED test/host/container/${what}: ${why}\n`);

test.before(async (t) => { if (problem === undefined) t.context.bed = await makeBed(); });
test.afterEach.always(async (t) => {
  for (const view of (await t.context.bed?.host.list()) ?? []) await operate((operation) => t.context.bed.host.destroy(view.id, operation));
});
test.after.always(async (t) => { await t.context.bed?.end(); });

/** Says who and where it is, counts, leaves a zombie behind now and then, and ends well when asked by SIGUSR1. */
const serve = `#!/bin/sh
trap 'echo asked to stop; exit 3' USR1
echo "who $(id -u):$(id -g):$(id -G) in $(pwd) home $HOME greeting $GREETING words $*"
n=0
while :; do n=$((n + 1)); echo $n > /tmp/count; (sleep 0.01 & ) ; sleep 0.05; done
`;

async function tree(): Promise<Entry[]> {
  const busybox = await readFile('/usr/bin/busybox');
  return [
    ...['bin/', 'etc/', 'srv/', 'proc/', 'sys/', 'run/'].map((name): Entry => ({ name, type: '5' })), { name: 'tmp/', type: '5', mode: 0o1777 },
    { name: 'bin/busybox', data: busybox }, ...['sh', 'id', 'cat', 'sleep', 'echo', 'pwd', 'ps', 'true', 'kill', 'ls', 'hostname'].map((name): Entry => ({ name: `bin/${name}`, type: '2', link: 'busybox' })),
    { name: 'bin/serve', data: serve },
    { name: 'etc/passwd', data: 'root:x:0:0::/root:/bin/sh\nweb:x:1001:1002::/srv/web:/bin/sh\n' }, { name: 'etc/group', data: 'root:x:0:\nwww:x:1003:\nlogs:x:1004:web,other\n' },
  ];
}

type Make = typeof ociArchive;
async function appImage(run: Readonly<Record<string, unknown>>, make: Make = ociArchive): Promise<ImageSource> {
  const bytes = make([{ tar: handmadeTar(...await tree()) }], { run });
  return imageOf(bytes, 'docker');
}

function imageOf(bytes: Buffer, containerFormat: string, change: Partial<ImageSource> = {}): ImageSource {
  return { id: randomUUID(), size: bytes.length, checksum: { algorithm: 'sha256', value: createHash('sha256').update(bytes).digest('hex') }, diskFormat: 'raw', containerFormat, open: async () => Readable.from([bytes]), ...change };
}

async function boot(bed: Bed, image: ImageSource, change: Parameters<typeof makeSpec>[1] = {}): Promise<string> {
  await operate((operation) => bed.host.ensureImage(image, operation));
  const spec = makeSpec(image, change);
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  return spec.id;
}

const console_ = (bed: Bed, id: string): Promise<string> => bed.host.consoleLog(id, undefined);
const says = (bed: Bed, id: string, words: RegExp): Promise<string> => until(`the console to say ${words}`, async () => words.exec(await console_(bed, id))?.[0], 30_000)
  .catch(async (error: unknown) => { throw new Error(`${String(error)}; it says: ${await console_(bed, id)}`); });
const count = async (bed: Bed, id: string): Promise<number> => Number(await inside(bed, id, '/bin/cat', '/tmp/count'));
const counts = (bed: Bed, id: string, from: number): Promise<true> => until('counting', async () => (await count(bed, id).catch(() => 0)) > from, 30_000) as Promise<true>;
const config = { Entrypoint: ['serve'], Cmd: ['one', 'two words'], Env: ['GREETING=a=b'], User: 'web', WorkingDir: '/srv/made', StopSignal: 'SIGUSR1' };

real('an image\'s entrypoint runs as its user, in its folder, with its environment, under an init that reaps', async (t) => {
  const { bed } = t.context;
  const id = await boot(bed, await appImage(config), { env: { EXTRA: 'x' } });
  await says(bed, id, /who 1001:1002:1002 1004 in \/srv\/made home \/srv\/web greeting a=b words one two words/);
  await counts(bed, id, 20);
  const [first, ...others] = (await inside(bed, id, '/bin/ps', '-o', 'pid,ppid,stat,user,args')).split('\n').slice(1).map((line) => line.trim().replace(/ +/g, ' '));
  t.regex(first ?? '', /^1 0 \S+ web \/run\/haulier\/catatonit -- serve one two words$/);
  t.true(others.filter((line) => / Z /.test(line)).length < 10, 'orphans are reaped');
  t.is(await inside(bed, id, '/bin/sh', '-c', 'echo x > /run/haulier/catatonit && echo written; true').catch(() => 'refused'), '', 'the init is read-only');
  const env = await inside(bed, id, '/bin/cat', '/proc/1/environ');
  t.regex(env, /HOSTNAME=guest1/);
  t.regex(env, /EXTRA=x/);
  t.notRegex(env, /SYSTEMD/);
});

real('it is asked to end by its image\'s stop signal, and restarted by a start', async (t) => {
  const { bed } = t.context;
  const id = await boot(bed, await appImage(config, dockerArchive));
  await counts(bed, id, 3);
  await operate((operation) => bed.host.stopContainer(id, { timeoutMs: 60_000, retryMs: 30_000 }, operation));
  t.regex(await console_(bed, id), /asked to stop/);
  t.like(await bed.host.view(id), { state: 'stopped', exitCode: 3 });
  await operate((operation) => bed.host.startContainer(id, operation));
  await counts(bed, id, 3);
  t.is((await bed.host.view(id)).state, 'running');
});

real('the end of the entrypoint is the end of the server, with its exit code', async (t) => {
  const { bed } = t.context;
  const ends = new Map<string, number>();
  bed.host.onExit(({ id, exitCode }) => ends.set(id, exitCode));
  const failed = await boot(bed, await appImage({ Cmd: ['/bin/sh', '-c', 'sleep 0.2; exit 7'], User: '1001:1003' }));
  t.is(await until('its end', () => ends.get(failed), 30_000), 7);
  t.is((await bed.host.view(failed)).state, 'crashed');
  const well = await boot(bed, await appImage({ Cmd: ['/bin/sh', '-c', 'id -u; sleep 0.2'] }));
  await until('its end', () => ends.has(well), 30_000);
  t.like(await bed.host.view(well), { state: 'stopped', exitCode: 0 });
});

real('what it lacks is named', async (t) => {
  const { bed } = t.context;
  for (const [run, reason] of [
    [{ Cmd: ['nothing-here'] }, /its program "nothing-here" is not in it/], [{ Cmd: ['/bin/none'] }, /its program "\/bin\/none" is not in it/],
    [{ Cmd: ['serve'], User: 'nobody' }, /its user "nobody" is not in its \/etc\/passwd/], [{ Cmd: ['serve'], User: 'web:none' }, /its group "none"/], [{ Cmd: ['serve'], User: '70000' }, /70000:0; ids above 65535/],
  ] as const) {
    const error = await boot(bed, await appImage(run)).then(() => undefined, (thrown: unknown) => thrown);
    t.regex(isHaulierError(error, 'IMAGE_UNACCEPTABLE') ? error.message : String(error), reason);
  }
});

frozen('it is suspended and resumed, and goes on where it stood; its signals and its exit code work afterwards', async (t) => {
  const { bed } = t.context;
  const id = await boot(bed, await appImage(config));
  await counts(bed, id, 5);
  await operate((operation) => bed.host.suspend(id, operation));
  t.is((await bed.host.view(id)).state, 'suspended');
  await operate((operation) => bed.host.resume(id, operation));
  const resumed = await count(bed, id);
  t.true(resumed >= 5);
  await counts(bed, id, resumed + 3);
  t.is((await console_(bed, id)).match(/who /g)?.length, 1, 'it was not started again');
  await operate((operation) => bed.host.stopContainer(id, { timeoutMs: 60_000, retryMs: 30_000 }, operation));
  t.like(await bed.host.view(id), { state: 'stopped', exitCode: 3 });
});

real('its snapshot says what it runs, and an image with that runs it too', async (t) => {
  const { bed } = t.context;
  const id = await boot(bed, await appImage(config));
  await counts(bed, id, 3);
  const snapshot = await operate((operation) => bed.host.snapshot(id, operation));
  const bytes = await buffer(snapshot.stream);
  await snapshot.end();
  t.like(snapshot.application, { args: ['serve', 'one', 'two words'], user: 'web' });
  const again = await boot(bed, imageOf(bytes, 'bare', { application: snapshot.application as NonNullable<typeof snapshot.application> }));
  await says(bed, again, /who 1001:1002:1002 1004 in \/srv\/made/);
  await operate((operation) => bed.host.snapshot(again, operation)).then((one) => one.end());
  t.is((await stat(join(bed.options.instancesPath, again, 'init/catatonit'))).ino, (await stat(join(bed.options.instancesPath, id, 'init/catatonit'))).ino, 'the init takes no space of its own');
});

real('an image that starts an init is a system as any other', async (t) => {
  const { bed } = t.context;
  const entries: Entry[] = [...await tree(), { name: 'sbin/', type: '5' }, { name: 'sbin/init', type: '2', link: '/bin/busybox' }, { name: 'etc/inittab', data: '::sysinit:/bin/echo system is up\n::respawn:/bin/sleep 100\n' }];
  for (const run of [{}, { Cmd: ['/sbin/init'] }]) {
    const id = await boot(bed, imageOf(ociArchive([{ tar: handmadeTar(...entries) }], { run }), 'docker'));
    await says(bed, id, /system is up/);
    t.regex(await inside(bed, id, '/bin/ps', '-o', 'pid,args'), /1 (\/sbin\/)?init/);
    await operate((operation) => bed.host.destroy(id, operation));
  }
});
