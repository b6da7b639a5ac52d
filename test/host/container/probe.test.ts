/** `haulier check`'s view of a host that is fit, and of one that is not. */
import { chmod, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { abilityTraits, ownTraits } from '../../../src/compute/traits.js';
import { probeAbilities, type Abilities } from '../../../src/container/abilities.js';
import { probeHost } from '../../../src/container/probe.js';
import { atLeast } from '../../../src/container/version.js';
import { hostOptions, hostProblem } from './harness.js';

const problem = hostProblem();
const real = problem === undefined ? test : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/probe: ${problem}\n`);

real('a fit host has all that is needed', async (t) => {
  const lines = await probeHost(await hostOptions('/var/lib/nova/probe', '/run/probe'));
  for (const { what, detail } of lines) t.log(`${what}: ${detail}`);
  t.deepEqual(lines.filter((line) => !line.ok), []);
  t.true(lines.every((line) => line.lacking !== true || line.advice !== ''), 'what is lacking comes with what to do');
});

real('what is missing is named, with advice', async (t) => {
  const lines = await probeHost({ ...(await hostOptions('/proc/no', '/run/probe')), runc: '/no/runc', criu: '/no/criu' });
  const bad = lines.filter((line) => !line.ok);
  t.deepEqual(bad.map((line) => line.what), ['runc', 'idmapped mounts']);
  t.true(bad.every((line) => line.advice !== ''));
  t.like(lines.find((line) => line.what === 'criu'), { ok: true, lacking: true });
  t.regex(lines.find((line) => line.what === 'criu')?.detail ?? '', /not here.*cannot be run/);
});

/** A folder with a `criu` of this version, for which `criu check` and the features named fail. */
async function fakeCriu(version: string, fails: readonly string[], sleeps = ''): Promise<string> {
  const folder = await mkdtemp('/run/fake-criu-');
  const criu = join(folder, 'criu');
  await writeFile(criu, `#!/bin/sh\n[ "$1" != --version ] || { echo "Version: ${version}"; exit 0; }\n${sleeps}\ncase "$*" in ${['nothing', ...fails].map((words) => `"${words}"`).join('|')}) exit 1;; esac\nexit 0\n`);
  await chmod(criu, 0o755);
  return criu;
}

const kernel = release();
const isNew = atLeast(kernel, '6.16');

real('criu: fit, lacking features, failing its own check, too old for the kernel, missing', async (t) => {
  const base = await hostOptions('/var/lib/nova/probe', '/run/probe');
  const probe = async (criu: string): Promise<Abilities> => await probeAbilities({ ...base, criu });
  const fit = await probe(await fakeCriu('4.2.1', []));
  t.like(fit, { criu: '4.2.1', kernel, problem: undefined });
  t.true(Object.values(fit.features).every(Boolean));
  t.deepEqual(abilityTraits(fit), [...ownTraits]);

  const plain = await probe(await fakeCriu('4.2.1', ['check --feature mem_dirty_track', 'check --feature uffd-noncoop']));
  t.is(plain.problem, undefined);
  t.deepEqual(abilityTraits(plain), ['CUSTOM_HAULIER_FREEZE']);

  const lacking = await probe(await fakeCriu('4.2.1', ['check --feature network_lock_nftables']));
  t.regex(lacking.problem ?? '', /lacks network_lock_nftables \(network lock/);
  const failing = await probe(await fakeCriu('4.2.1', ['check']));
  t.regex(failing.problem ?? '', /criu check/);
  const missing = await probe('/no/such/criu');
  t.like(missing, { criu: undefined });
  t.regex(missing.problem ?? '', /cannot be run/);
  for (const bad of [lacking, failing, missing]) t.deepEqual(abilityTraits(bad), []);

  const old = await fakeCriu('4.1.1', []);
  const found = await probe(old);
  const lines = await probeHost({ ...base, criu: old });
  if (isNew) {
    t.regex(found.problem ?? '', /criu 4\.1\.1 is too old: on kernel .* it cannot save TCP connections; install criu 4\.2/);
    t.deepEqual(abilityTraits(found), []);
    t.like(lines.find(({ what }) => what === 'criu'), { lacking: true });
  } else t.is(found.problem, undefined);
});

real('a criu that hangs delays nothing else and is given up', async (t) => {
  const base = await hostOptions('/var/lib/nova/probe', '/run/probe');
  t.timeout(120_000);
  const found = await probeAbilities({ ...base, criu: await fakeCriu('4.2.1', [], 'exec sleep 1000') });
  t.regex(found.problem ?? '', /criu check/);
  t.true(Object.values(found.features).every((there) => !there));
});

test.after.always(async () => {
  for (const name of await readdir('/run').catch(() => [])) if (name.startsWith('fake-criu-')) await rm(join('/run', name), { recursive: true });
});
