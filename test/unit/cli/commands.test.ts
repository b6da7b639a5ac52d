/** The table of commands, and what is made from it: usage, completion, manual page; the unit file. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { readArguments } from '../../../src/base/config/arguments.js';
import { packageRoot } from '../../../src/base/package-root.js';
import { run } from '../../../src/base/run.js';
import { commands, isForeign, usage } from '../../../src/cli/commands.js';
import { completion } from '../../../src/cli/completion.js';
import { manual } from '../../../src/cli/manual.js';

const command = (name: string): (typeof commands)[number] => commands.find((one) => one.name === name)!;
const complaint = (name: string, ...words: string[]): unknown => { const parsed = command(name).parse(words); return typeof parsed === 'string' ? parsed : undefined; };
const there = (tool: string): boolean => ['/usr/bin', '/bin', '/usr/local/bin'].some((folder) => existsSync(join(folder, tool)));

const haulForms = 'haul takes: watch [--json] [ID], check [--address ADDRESS[:PORT]] ID HOST, or decide ID here --the-other-host-is-dead | there --the-other-host-has-it';

test('arguments are checked before anything is done', (t) => {
  for (const [words, expected] of [
    [['ps', 'x'], 'unknown argument x'], [['ps', '--json=1'], 'unknown argument --json=1'], [['ps', '--json'], undefined],
    [['show'], 'show takes one container'], [['show', 'a', 'b'], 'show takes one container'], [['show', 'a', '--json'], undefined],
    [['logs', '-n', 'a'], 'logs takes one container'], [['logs', '-n', 'x', 'a'], '-n takes a number, not x'], [['logs', 'a', '-f', '--lines=3'], undefined], [['logs', 'a', '-n'], '-n needs a value'],
    [['exec'], 'exec takes a container and a command'], [['exec', '--tty', 'a'], 'unknown argument --tty'], [['exec', '--no-tty', 'a', 'ls', '-l'], undefined],
    [['console'], 'console takes one container'], [['can-freeze'], 'can-freeze takes one container'], [['host', 'melt'], 'host takes one word: freeze or thaw'],
    [['haul', 'watch'], undefined], [['haul', 'watch', 'a', '--json'], undefined], [['haul', 'watch', 'a', 'b'], haulForms], [['haul', 'watch', '--address=x'], '--address does not belong to haul watch'],
    [['haul', 'check', 'a', 'host'], undefined], [['haul', 'check', '--address', '[2001:db8::1]:1', 'a', 'host'], undefined], [['haul', 'check', '--address=[x]:1', 'a', 'host'], '--address takes ADDRESS or ADDRESS:PORT, not [x]:1'],
    [['haul', 'check', 'a'], haulForms], [['haul', 'decide', 'a', 'somewhere'], haulForms], [['haul', 'decide', 'a', 'here'], undefined], [['haul', 'decide', 'a', 'here', '--the-other-host-has-it'], '--the-other-host-has-it does not belong to haul decide'],
    [['check', 'x'], 'unknown argument x'], [['serve'], undefined],
  ] as const) t.is(complaint(words[0], ...words.slice(1)), expected, words.join(' '));
});

test('an error that repeats what others wrote cannot command the terminal', async (t) => {
  const failed = await t.throwsAsync(run(process.execPath, [join(packageRoot, 'dist/src/main.js'), '--config-file', '/none/\x1b[2J', 'ps']));
  t.regex(failed!.message, /haulier: \/none\/\?\[2J: /);
});

test('what follows exec and its container is not ours to read', (t) => {
  t.deepEqual(readArguments(['--debug', 'exec', '--no-tty', 'web', 'ls', '-d', '--config-file', 'x', '--'], isForeign).rest, ['exec', '--no-tty', 'web', 'ls', '-d', '--config-file', 'x', '--']);
  t.deepEqual(readArguments(['exec', '-d', 'web', 'ls'], isForeign), { sources: [], overrides: { DEFAULT: { debug: 'true' } }, rest: ['exec', 'web', 'ls'] });
  t.deepEqual(readArguments(['logs', 'web', '-d'], isForeign).rest, ['logs', 'web']);
});

test('every command is in the usage text, the manual and the completion', (t) => {
  for (const { name, synopsis } of commands) {
    t.true(usage().includes(`  ${[name, synopsis].filter(Boolean).join(' ')}`), name);
    t.true(manual().includes(`\n.B ${name.replaceAll('-', '\\-')}`), name);
  }
});

test('docs/haulier.8 is what the code generates, and a clean manual page', async (t) => {
  const path = join(packageRoot, 'docs/haulier.8');
  if (process.env['HAULIER_UPDATE']) writeFileSync(path, manual());
  t.is(readFileSync(path, 'utf8'), manual());
  if (!there('man')) return void process.stderr.write('SKIPPED the check of docs/haulier.8: man is missing\n');
  const { stdout, stderr } = await run('man', ['-l', '--warnings', '-E', 'UTF-8', path], { env: { ...process.env, MANWIDTH: '80', LC_ALL: 'C.UTF-8', PAGER: 'cat', MANPAGER: 'cat' } });
  t.is(stderr, '');
  const plain = stdout.replace(/.\x08/g, '');
  t.regex(plain, /exec \[--no-tty\] ID \[COMMAND \[ARGUMENT\]\.\.\.\]/);
});

/** What bash offers after these words; `haulier ps` is a stand-in. */
async function offered(...words: string[]): Promise<string[]> {
  const script = `${completion()}
haulier() { printf 'ID NAME\\n1111-a web\\n2222-b db\\n'; }
compopt() { :; }
COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}) COMP_CWORD=${words.length - 1}
_haulier
printf '%s\\n' "\${COMPREPLY[@]}"`;
  return (await run('bash', ['-c', script])).stdout.trim().split('\n');
}

test('completion: commands, containers, options', async (t) => {
  await run('bash', ['-n'], { input: completion() });
  t.true((await offered('haulier', '')).includes('console'));
  t.deepEqual(await offered('haulier', 'ex'), ['exec']);
  t.deepEqual(await offered('haulier', '--config-file', 'x', 'show', ''), ['1111-a', '2222-b']);
  t.deepEqual(await offered('haulier', 'show', '2'), ['2222-b']);
  t.deepEqual(await offered('haulier', 'show', '--'), ['--json']);
  t.deepEqual(await offered('haulier', 'template', ''), ['mark', 'capture']);
  t.deepEqual(await offered('haulier', 'template', 'mark', '1'), ['1111-a']);
  t.deepEqual(await offered('haulier', 'host', 'f'), ['freeze']);
  t.deepEqual(await offered('haulier', 'haul', ''), ['watch', 'check', 'decide']);
  t.deepEqual(await offered('haulier', 'haul', 'check', '1'), ['1111-a']);
});

test('the unit file: systemd takes it, and the monitors outlive the service', async (t) => {
  const unit = readFileSync(join(packageRoot, 'docs/haulier.service'), 'utf8');
  t.regex(unit, /^KillMode=process$/m);
  if (!there('systemd-analyze')) return void process.stderr.write('SKIPPED the check of docs/haulier.service: systemd-analyze is missing\n');
  const folder = await mkdtemp(join(tmpdir(), 'unit-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const path = join(folder, 'haulier.service');
  await writeFile(path, unit.replace('/usr/bin/haulier', process.execPath));
  const { stdout, stderr } = await run('systemd-analyze', ['verify', '--man=no', path], { okCodes: [0, 1] });
  t.deepEqual(`${stdout}${stderr}`.split('\n').filter((line) => line.includes('haulier')), []);
});
