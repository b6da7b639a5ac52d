/** `haulier haul` between two hosts: what is said before a haul, while it runs, and where its destination is lost for good. */
import { rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { packageRoot } from '../../../src/base/package-root.js';
import type { ImageSource } from '../../../src/container/spec.js';
import { Authority } from '../../lib/certificates.js';
import { criuProblem } from '../container/checkpoint-kit.js';
import { until } from '../container/harness.js';
import { makeHosts, type TestHost } from './hosts.js';
import { bootNumbers, counted, haul, NumberClient, numbersImage } from './numbers.js';

const problem = await criuProblem();
const test = anyTest as TestFn<{ a: TestHost; b: TestHost; image: ImageSource; end(): Promise<void> }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/haul/people: ${problem}\n`);

const authority = new Authority();
process.on('exit', () => rmSync(authority.folder, { recursive: true, force: true }));
const program = join(packageRoot, 'dist/src/main.js');

test.before(async (t) => {
  if (problem !== undefined) return;
  const hosts = await makeHosts(authority);
  const image = await numbersImage();
  t.context = { ...hosts, image };
  await hosts.a.start();
  await hosts.b.start();
  await hosts.a.takeImage(image);
});
test.after.always(async (t) => { await t.context.end?.(); });

/** Runs the command on a host. @returns its exit status and what it printed */
async function haulier(host: TestHost, ...words: string[]): Promise<{ readonly code: number; readonly text: string }> {
  const { options, settings, name } = host;
  const file = join(options.instancesPath, 'haulier.conf');
  await writeFile(file, `[DEFAULT]
host = ${name}
instances_path = ${options.instancesPath}
[haulier]
run_path = ${options.runPath}
cgroup_parent = ${options.cgroupParent}
runc = ${options.runc}
criu = ${options.criu}
haul_ca = ${settings.ca}
haul_cert = ${settings.cert}
haul_key = ${settings.key}
haul_address = ${settings.address}
haul_port = ${settings.port}
`);
  const script = `${process.execPath} ${program} --config-file ${file} haul ${words.map((_, at) => `"$W${at}"`).join(' ')} 2>&1; echo "exit $?"`;
  const { stdout } = await host.inside('env', ...words.map((word, at) => `W${at}=${word}`), 'sh', '-c', script);
  const [, text = '', code] = /^([^]*)exit (\d+)\n$/.exec(stdout) ?? [];
  return { code: Number(code), text };
}

real('check says what stops a haul, watch follows it, stage by stage and round by round', async (t) => {
  const { a, b } = t.context;
  const spec = await bootNumbers(a, t.context.image);
  await until('it counts', () => counted(a, spec.id));

  const fit = await haulier(a, 'check', '--address', b.address, spec.id, b.name);
  t.is(fit.code, 0, fit.text);
  t.regex(fit.text, /ok +hl-b answers at 10\.98\.0\.12:8791, with its certificate/);
  t.regex(fit.text, /note +the image .* is not there: it goes along/);
  t.regex(fit.text, /note +its memory would go by stop-and-copy/);
  t.regex(fit.text, /nothing that can be seen from here stops a haul/);
  const wrong = await haulier(a, 'check', `--address=${b.address}`, spec.id, 'hl-c');
  t.is(wrong.code, 1);
  t.regex(wrong.text, /STOPS +.*its certificate is not that of hl-c/);
  const nobody = await haulier(a, 'check', '--address', `${b.address}:9`, spec.id, b.name);
  t.is(nobody.code, 1);
  t.regex(nobody.text, /STOPS +.*cannot be reached at 10\.98\.0\.12:9/);
  t.deepEqual(await b.traces(spec), [], 'it only looks');

  const none = await haulier(a, 'decide', spec.id, 'here', '--the-other-host-is-dead');
  t.is(none.code, 1);
  t.regex(none.text, /none away from this host is under way/);

  const watching = haulier(a, 'watch', spec.id);
  const { result } = await haul(spec.id, a, b);
  const seen = await watching;
  t.log(seen.text);
  t.is(seen.code, 0, seen.text);
  t.is(seen.text.match(/(round \d+|frozen), (file system|memory): /g)?.length, result.rounds.length);
  t.regex(seen.text, /on its way to hl-b at 10\.98\.0\.12:8791/);
  t.regex(seen.text, new RegExp(`hauled to hl-b in .*: stop-and-copy .*, ${result.rounds.length} rounds`));
  await b.tell({ do: 'destroy', id: spec.id });
});

real('a destination that is lost for good: the container stands frozen until an operator decides, here or there', async (t) => {
  const { a, b } = t.context;
  for (const place of ['here', 'there'] as const) {
    const spec = await bootNumbers(a, t.context.image);
    const client = await NumberClient.open('10.99.0.50', 7000);
    t.teardown(() => client.close());
    const count = await until('it counts', () => counted(a, spec.id));
    await b.kill();
    await b.start('kill:haul.destination.restoring:1');
    const end = haul(spec.id, a, b).then(() => 'went through', (error: Error) => error.message);
    await b.gone();
    const warned = await haulier(a, 'decide', spec.id, place);
    t.is(warned.code, 1);
    t.regex(warned.text, place === 'here' ? /there are two of/ : /it is lost/);
    const word = place === 'here' ? '--the-other-host-is-dead' : '--the-other-host-has-it';
    const decided = await until('the decision counts', async () => {
      const answer = await haulier(a, 'decide', spec.id, place, word);
      return answer.code === 0 ? answer : undefined;
    }, 60_000);
    t.regex(decided.text, place === 'here' ? /goes on here/ : /is the other host's/);
    if (place === 'here') {
      t.not(await end, 'went through');
      await until('it counts on', async () => (await counted(a, spec.id)) > count);
      await client.more(20);
      t.is((await a.view(spec.id)).state, 'running');
    } else {
      t.is(await end, 'went through');
      t.is((await a.view(spec.id)).state, 'missing');
    }
    client.close();
    await b.start(); // its disk is not lost in this test: what it had restored by then it runs, what it had not it takes away
    await until('it has settled', async () => ['running', 'missing'].includes((await b.view(spec.id)).state), 60_000);
    for (const host of [a, b]) await host.tell({ do: 'destroy', id: spec.id });
    // a destination that took it although the operator had decided otherwise keeps its word for a source that may still ask
    const left = async (): Promise<string[]> => [...(await a.traces(spec)), ...(await b.traces(spec))].filter((trace) => !/^hl-b: record .*\.destination$/.test(trace));
    await until('nothing is left', async () => (await left()).length === 0, 60_000).catch(() => undefined);
    t.deepEqual(await left(), []);
  }
});
