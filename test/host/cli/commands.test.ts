/** The operator's commands on real containers, as an operator calls them; the service does not run, its files are enough. */
import { spawn, type ChildProcess } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { packageRoot } from '../../../src/base/package-root.js';
import { startControl } from '../../../src/http/control.js';
import { silentLog } from '../../../src/base/log.js';
import { hostProblem, makeBed, makeSpec, makeVif, operate, until, type Bed } from '../container/harness.js';

const problem = hostProblem();
const test = anyTest as TestFn<{ bed: Bed; config: string; id: string; shell: string }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/cli/commands: ${problem}\n`);

const main = join(packageRoot, 'dist/src/main.js');

test.before(async (t) => {
  if (problem !== undefined) return;
  const bed = await makeBed();
  const { options } = bed;
  const config = join(options.runPath, 'nova.conf');
  await writeFile(config, `[DEFAULT]\ninstances_path = ${options.instancesPath}\n[haulier]\nrun_path = ${options.runPath}\ncgroup_parent = ${options.cgroupParent}\n`);
  const boot = async (change: Parameters<typeof makeSpec>[1]): Promise<string> => {
    const spec = makeSpec(bed.image, change);
    await operate((operation) => bed.host.create(spec, operation));
    await operate((operation) => bed.host.startContainer(spec.id, operation));
    return spec.id;
  };
  const id = await boot({ name: 'instance-0000000a', labels: { display_name: 'web \x1b[31mserver', project_id: 'p1' }, vifs: [makeVif({ type: 'bridge', bridge: 'brqhtcli', createBridge: true }, 0)] });
  await until('the guest is up', async () => (await bed.host.consoleLog(id, undefined)).includes('guest is up'));
  const shell = await boot({ name: 'instance-0000000b', hostname: 'shell', init: ['/bin/sh', '-i'] });
  Object.assign(t.context, { bed, config, id, shell });
});
test.after.always(async (t) => { await t.context.bed?.end(); });

interface Ran { readonly code: number | null; readonly out: string; readonly err: string }

/** Begins a command. @param terminal on a pty, made by script(1) */
function begin(config: string, words: readonly string[], terminal = false): { child: ChildProcess; out: () => string; done: Promise<Ran> } {
  const command = [process.execPath, main, '--config-file', config, ...words];
  const quoted = command.map((word) => `'${word.replaceAll('\'', '\'\\\'\'')}'`).join(' ');
  const child = terminal ? spawn('script', ['-qefc', `stty rows 33 columns 101; ${quoted}`, '/dev/null'], { env: { ...process.env, TERM: 'vt220' } }) : spawn(command[0]!, command.slice(1));
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk: Buffer) => { out += chunk.toString(); });
  child.stderr.on('data', (chunk: Buffer) => { err += chunk.toString(); });
  child.stdin.on('error', () => undefined);
  return { child, out: () => out, done: new Promise((resolve) => child.once('close', (code) => resolve({ code, out, err }))) };
}

async function ran(config: string, ...words: string[]): Promise<Ran> {
  const { child, done } = begin(config, words);
  child.stdin!.end();
  return await done;
}

real('ps: every container with its state; a guest cannot write on the operator\'s terminal', async (t) => {
  const { bed, config, id, shell } = t.context;
  const { code, out } = await ran(config, 'ps');
  t.is(code, 0);
  t.regex(out, new RegExp(`^${id} +web \\?\\[31mserver +running +\\S+ +\\S+iB +10\\.90\\.0\\.5 fd00:90:0::5`, 'm'));
  t.regex(out, new RegExp(`^${shell} +instance-0000000b +running`, 'm'));
  await operate((operation) => bed.host.pause(shell, operation));
  const list = JSON.parse((await ran(config, 'ps', '--json')).out) as { id: string; state: string }[];
  t.deepEqual(list.map((item) => [item.id, item.state]).sort(), [[id, 'running'], [shell, 'paused']].sort());
  await operate((operation) => bed.host.unpause(shell, operation));
});

real('ps and show tell what the service works on, over its socket', async (t) => {
  const { bed, config, id } = t.context;
  const control = await startControl(bed.options.runPath, { operations: async () => [{ id: 1, name: 'suspend_instance', requestId: 'req-1', instance: id, step: 'criu writes', progress: 0.42, ageMs: 5 }] }, silentLog());
  t.regex((await ran(config, 'ps')).out, new RegExp(`^${id} .*suspend_instance: criu writes 42 %$`, 'm'));
  t.regex((await ran(config, 'show', id)).out, /^busy with +suspend_instance: criu writes 42 %$/m);
  await control.close();
});

real('show: by id, by its beginning, by each name; what is unknown or means two is an error', async (t) => {
  const { config, id, shell } = t.context;
  for (const word of [shell, shell.slice(0, 13), 'instance-0000000b', 'shell']) {
    const { out } = await ran(config, 'show', word);
    t.regex(out, new RegExp(`^id +${shell}$`, 'm'), word);
    t.regex(out, /^state +running$/m);
  }
  const whole = JSON.parse((await ran(config, 'show', '--json', id)).out) as Record<string, unknown> & { labels: object; usage: { pids: number } };
  t.like(whole, { id, state: 'running', labels: { project_id: 'p1' }, hostname: 'guest1' });
  t.true(whole.usage.pids >= 1);
  const unknown = await ran(config, 'show', 'nobody');
  t.is(unknown.code, 1);
  t.regex(unknown.err, /Instance nobody could not be found/);
  const twice = await ran(config, 'show', '');
  t.is(twice.code, 1);
  t.is((await ran(config, 'show')).code, 2);
  t.is((await ran(config, 'show', '--wrong', id)).code, 2);
});

real('top: what runs, with its CPU', async (t) => {
  const { config, id, shell } = t.context;
  const { code, out } = await ran(config, 'top');
  t.is(code, 0);
  for (const one of [id, shell]) t.regex(out, new RegExp(`^${one} +.* +\\d+\\.\\d +\\S+/64\\.0MiB +\\d+ `, 'm'));
});

real('exec: output, exit status, standard input, the command\'s own options', async (t) => {
  const { config, id } = t.context;
  t.like(await ran(config, 'exec', 'instance-0000000a', 'hostname'), { code: 0, out: 'guest1\n' });
  t.like(await ran(config, 'exec', id, 'sh', '-c', 'echo bad >&2; exit 7'), { code: 7, out: '', err: 'bad\n' });
  t.like(await ran(config, 'exec', id, '--', 'echo', '-d', '--config-file', 'x', '--help'), { code: 0, out: '-d --config-file x --help\n' });
  const { child, done } = begin(config, ['exec', id, 'sh', '-c', 'tr a-z A-Z; test -t 0 || echo none']);
  child.stdin!.end('to the guest\n');
  t.like(await done, { code: 0, out: 'TO THE GUEST\nnone\n' });
  t.is((await ran(config, 'exec')).code, 2);
});

real('exec on a terminal: a terminal of its own, of the same size; a shell without a command', async (t) => {
  const { config, id } = t.context;
  const { child, out, done } = begin(config, ['exec', id], true);
  await until('the shell answers', () => { child.stdin!.write('echo $((6*7)) $TERM $(stty size)\n'); return out().includes('42 vt220 33 101'); });
  child.stdin!.write('exit 5\n');
  t.is((await done).code, 5);
});

real('exec of what does not run is refused', async (t) => {
  const { bed, config, shell } = t.context;
  await operate((operation) => bed.host.pause(shell, operation));
  const { code, err } = await ran(config, 'exec', shell, 'true');
  t.is(code, 1);
  t.regex(err, /in state paused: cannot run a command in it/);
  await operate((operation) => bed.host.unpause(shell, operation));
});

real('logs: all, the last lines, and what comes, over a restart of the container', async (t) => {
  const { bed, config, id } = t.context;
  t.regex((await ran(config, 'logs', id)).out, /guest1\n(.*\n)*guest is up: 0\n/);
  t.is((await ran(config, 'logs', '-n', '1', id)).out.split('\n').length, 2);
  t.is((await ran(config, 'logs', '-n', 'x', id)).code, 2);
  const { child, out } = begin(config, ['logs', '-f', '-n', '0', id]);
  const say = async (word: string): Promise<void> => { await ran(config, 'exec', id, 'sh', '-c', `echo ${word} > /dev/console`); };
  await until('it follows', async () => { await say('first-word'); return out().includes('first-word'); });
  t.false(out().includes('guest is up'));
  await operate((operation) => bed.host.stopContainer(id, { timeoutMs: 0, retryMs: 0 }, operation));
  await operate((operation) => bed.host.startContainer(id, operation));
  await until('it follows the next start', () => out().includes('guest is up'));
  child.kill();
});

real('console: what is typed reaches the shell, the window its size, Ctrl-] leaves; others stay', async (t) => {
  const { config, shell } = t.context;
  const [one, two] = [begin(config, ['console', 'shell'], true), begin(config, ['console', shell], true)];
  await until('both see it', () => { one.child.stdin!.write('echo $((6*7))-typed\n'); return one.out().includes('42-typed') && two.out().includes('42-typed'); });
  await until('the size is the terminal\'s', () => { one.child.stdin!.write('stty size\n'); return one.out().includes('33 101'); });
  one.child.stdin!.write('\x1d');
  t.is((await one.done).code, 0);
  two.child.stdin!.write('echo $((6*7))-still\n');
  await until('the other goes on', () => two.out().includes('42-still'));
  two.child.stdin!.write('\x1d');
  await two.done;
  t.false(one.out().includes('42-still'));
  t.regex((await ran(config, 'logs', shell)).out, /42-still/);
});

real('can-freeze and template take names too', async (t) => {
  const { config } = t.context;
  t.regex((await ran(config, 'can-freeze', 'instance-0000000a')).out, /^(yes|no)$/m);
  t.is((await ran(config, 'can-freeze', 'nobody')).code, 2);
  t.regex((await ran(config, 'template', 'mark', 'nobody')).err, /Instance nobody could not be found/);
});
