/** `haulier check`'s view of a host that is fit, and of one that is not. */
import test from 'ava';
import { probeHost } from '../../../src/container/probe.js';
import { hostOptions, hostProblem } from './harness.js';

const problem = hostProblem();
const real = problem === undefined ? test : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/probe: ${problem}\n`);

real('a fit host has all that is needed', async (t) => {
  const lines = await probeHost(await hostOptions('/var/lib/nova/probe', '/run/probe'));
  for (const { what, detail } of lines) t.log(`${what}: ${detail}`);
  t.deepEqual(lines.filter((line) => !line.ok), []);
});

real('what is missing is named, with advice', async (t) => {
  const lines = await probeHost({ ...(await hostOptions('/proc/no', '/run/probe')), runc: '/no/runc', criu: '/no/criu' });
  const bad = lines.filter((line) => !line.ok);
  t.deepEqual(bad.map((line) => line.what), ['runc', 'idmapped mounts']);
  t.true(bad.every((line) => line.advice !== ''));
  t.regex(lines.find((line) => line.what === 'criu')?.detail ?? '', /not here/);
});
