/** An unmodified Debian 13 under systemd: clones resume from its memory, each as itself; a login by ssh is held across. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { criuProblem, leftOvers } from './checkpoint-kit.js';
import { guestImage, guestImageProblem, guestSystems, processList, shell, succeeds, untilAtRest, untilBooted, untilSettled } from './guest-systems.js';
import { operate, until } from './harness.js';
import { bootFrom, memoryBed, memorySnapshot, type MemoryBed } from './memory-kit.js';

const problem = (await criuProblem()) ?? guestImageProblem('debian13');
const test = anyTest as TestFn<{ bed: MemoryBed }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/systemd-memory: ${problem}\n`);

const system = guestSystems.find(({ name }) => name === 'debian13')!;
const limits = { vcpus: 2, cpuShares: undefined, cpuQuota: undefined, cpuPeriod: undefined, memoryMiB: 512, swapMiB: 0, pids: 1000, rootGiB: 2 };
const addressOf = (spec: ContainerSpec): string => spec.vifs[0]?.addresses[0]?.address ?? '';

test.before(async (t) => {
  if (problem === undefined) t.context.bed = await memoryBed('brqhtsys');
});
test.afterEach.always(async (t) => {
  for (const view of (await t.context.bed?.host.list()) ?? []) await operate((operation) => t.context.bed.host.destroy(view.id, operation));
});
test.after.always((t) => t.context.bed?.end());

async function boot(bed: MemoryBed, change: Partial<ContainerSpec> = {}): Promise<ContainerSpec> {
  const spec = await bootFrom(bed, await guestImage('debian13'), { limits, ...change });
  await untilBooted(bed, spec.id, system);
  return spec;
}

/** Its web server's answer. */
const page = (spec: ContainerSpec): Promise<string> => until(`${addressOf(spec)} answers`, () => run('curl', ['-s', '-m', '5', `http://${addressOf(spec)}/`]).then(({ stdout }) => stdout, () => undefined));

real('two clones of its memory: services alive, no failed unit, each with its own name, addresses and machine id', async (t) => {
  const { bed } = t.context;
  const { host } = bed;
  const source = await boot(bed);
  const facts = (spec: ContainerSpec): Promise<string> => shell(bed, spec.id, 'hostname; cat /etc/machine-id; cat /etc/ssh/ssh_host_ed25519_key.pub; cat /proc/1/stat | cut -d" " -f22');
  const [, sourceMachine = '', sourceKey = ''] = (await facts(source)).split('\n');
  const sourceProcesses = (await untilSettled(bed, source.id)).split('\n').map((line) => line.replace(/^(\d+) \d+/, '$1'));
  const { image, snapshot } = await memorySnapshot(bed, source.id);
  t.log(`frozen ${Math.round(snapshot.frozenMs)} ms, image of ${image.size} bytes, ${snapshot.memory?.memoryMiB} MiB`);
  const clones = [await bootFrom(bed, image, { limits, newIdentity: ['keys', 'machine-id'] }), await bootFrom(bed, image, { limits })];
  for (const [index, clone] of clones.entries()) {
    t.is((await host.view(clone.id)).state, 'running');
    await untilBooted(bed, clone.id, system);
    const [name, machine, key] = (await facts(clone)).split('\n');
    t.is(name, clone.hostname);
    t.is(await shell(bed, clone.id, 'cat /etc/hostname; hostnamectl hostname'), `${clone.hostname}\n${clone.hostname}`);
    t.is(machine === sourceMachine, index === 1);
    t.is(key === sourceKey, index === 1);
    t.regex(machine ?? '', /^[0-9a-f]{32}$/);
    const network = await shell(bed, clone.id, 'ip -o address; ip route');
    t.true(network.includes(`${addressOf(clone)}/24`) && !network.includes(`${addressOf(source)}/`), network);
    t.is(await shell(bed, clone.id, system.failed), '');
    for (const service of system.services) t.is(await shell(bed, clone.id, `systemctl is-active ${service}`), 'active', service);
    t.regex(await page(clone), /nginx/);
    // the same processes, and not new ones
    const processes = new Set((await processList(bed, clone.id)).split('\n').map((line) => line.replace(/^(\d+) \d+/, '$1')));
    t.deepEqual(sourceProcesses.filter((one) => !processes.has(one) && !/sshd/.test(one) && !(index === 0 && /journald/.test(one))), [], 'but for what new keys and a new machine id start anew');
    t.true(await succeeds(bed, clone.id, 'systemd-run -q --wait true && timeout 60 systemctl restart nginx cron ssh && logger of-the-clone'));
    await until('the journal goes on', () => succeeds(bed, clone.id, 'journalctl -n 50 --no-pager | grep -q of-the-clone'));
    await untilAtRest(bed, clone.id);
    t.is(await shell(bed, clone.id, system.failed), '');
  }
  t.regex(await page(source), /nginx/);
  t.is(await shell(bed, source.id, system.failed), '');
  const [first] = clones as [ContainerSpec];
  await operate((operation) => host.stopContainer(first.id, { timeoutMs: 60_000, retryMs: 10_000 }, operation));
  t.like(await host.view(first.id), { state: 'stopped', exitCode: 130 });
  await operate((operation) => host.startContainer(first.id, operation));
  await untilBooted(bed, first.id, system);
  for (const spec of [source, ...clones]) {
    await operate((operation) => host.destroy(spec.id, operation));
    t.deepEqual(await leftOvers(bed, spec), []);
  }
});

real('a login by ssh with a key, a shell and its job, held across suspend and resume', async (t) => {
  const { bed } = t.context;
  const { host } = bed;
  const spec = await boot(bed);
  // the client runs on the host; its program is the image's own
  const [{ tree }] = await host.parts.storage.layers(spec.id);
  const client_ = (...command: string[]): string[] => ['--ro-bind', tree, '/', '--dev', '/dev', '--proc', '/proc', '--tmpfs', '/tmp', '--bind', bed.folder, '/mnt', '--die-with-parent', ...command];
  await run('bwrap', client_('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', '/mnt/id'));
  const key = join(bed.folder, 'id');
  await shell(bed, spec.id, `useradd -m -s /bin/bash joe && mkdir -p /home/joe/.ssh && echo '${(await readFile(`${key}.pub`, 'utf8')).trim()}' >/home/joe/.ssh/authorized_keys && chown -R joe: /home/joe/.ssh && chmod 700 /home/joe/.ssh`);
  const client = spawn('bwrap', client_('ssh', '-tt', '-i', '/mnt/id', '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR', '-o', 'ServerAliveInterval=5', '-o', 'ServerAliveCountMax=100', `joe@${addressOf(spec)}`), { stdio: ['pipe', 'pipe', 'inherit'] });
  t.teardown(() => { client.kill('SIGKILL'); });
  const closed = once(client, 'close');
  let heard = '';
  client.stdout.setEncoding('utf8').on('data', (text: string) => { heard += text; });
  /** Types a line; the shell's echo of it does not match, for the answer is computed. */
  const asks = async (line: string, answer: RegExp): Promise<string> => {
    heard = '';
    client.stdin.write(`${line}\n`);
    await until(`an answer as ${answer} to ${line}`, () => answer.test(heard) || client.exitCode !== null, 60_000).catch((error: unknown) => { throw new Error(`${String(error)}: ${JSON.stringify(heard)}`); });
    return answer.exec(heard)?.[1] ?? '';
  };
  const shellPid = await asks('echo "shell:$(($$))"', /shell:(\d+)/);
  const jobPid = await asks('sleep 100000 & echo "job:$(($!))"', /job:(\d+)/);
  await asks('n=0; while :; do n=$((n + 1)); echo $n >/tmp/count; sleep 0.2; done & echo "second:$(($!))"', /second:(\d+)/);
  const session = await shell(bed, spec.id, 'loginctl list-sessions --no-legend | grep -c joe');
  t.not(session, '0');
  for (const round of [1, 2]) {
    await operate((operation) => host.suspend(spec.id, operation));
    t.like(await host.view(spec.id), { state: 'suspended' });
    heard = '';
    client.stdin.write(`echo "typed meanwhile: $((${round} * 111))"\n`);
    await operate((operation) => host.resume(spec.id, operation));
    await until('what was typed while it was away is done', () => new RegExp(`typed meanwhile: ${round * 111}`).test(heard), 60_000).catch(async (error: unknown) => {
      const sockets = await Promise.all([run('ss', ['-tnio', 'dst', addressOf(spec)]).then(({ stdout }) => stdout), shell(bed, spec.id, 'ps -eo pid,stat,wchan:20,args; cat /proc/net/tcp')]);
      throw new Error(`${String(error)}; heard ${JSON.stringify(heard)}; the client's sockets, then the guest's processes and sockets:\n${sockets.join('\n')}`);
    });
    t.is(client.exitCode, null, 'the client has not noticed');
    t.is(await asks('echo "shell:$(($$))"', /shell:(\d+)/), shellPid);
    t.is(await asks('echo "job:$(($(jobs -p | head -1)))"', /job:(\d+)/), jobPid);
    const count = Number(await shell(bed, spec.id, 'cat /tmp/count'));
    await until('its second job counts on', async () => Number(await shell(bed, spec.id, 'cat /tmp/count')) > count);
    t.is(await shell(bed, spec.id, 'loginctl list-sessions --no-legend | grep -c joe'), session);
    t.is(await shell(bed, spec.id, system.failed), '');
  }
  client.stdin.write('kill $(jobs -p)\nexit\nexit\n');
  const [code] = (await closed) as [number];
  t.true(code === 0 || code === 143, `the client ended with ${code}`);
  await until('its session ends', async () => (await shell(bed, spec.id, 'loginctl list-sessions --no-legend | grep -c joe')) === '0', 60_000);
});
