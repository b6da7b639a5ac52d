/**
 * criu cannot hold a process that waits for a disk just then, and lets the container go for a moment, while the last of its file system is
 * on its way. The dump is tried again only where that copy is still true; else the haul is given up, and the container goes on.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { readCgroupLayout } from '../../../src/container/cgroup.js';
import { freezerSwitch } from '../../../src/container/checkpoint/freezer.js';
import { criuProblem, wrapper } from '../container/checkpoint-kit.js';
import { until } from '../container/harness.js';
import { makeHosts } from './hosts.js';
import { counted, haul } from './numbers.js';
import { authority, closeWorld, openWorld, place, type World } from './world.js';

const problem = await criuProblem();
const test = anyTest as TestFn<World>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/haul/unseizable: ${problem}\n`);

test.before(async (t) => {
  if (problem !== undefined) return;
  await openWorld(t.context, await makeHosts(authority));
});
test.after.always((t) => closeWorld(t.context));

const gaveUp = /criu let it go on for a moment/;

/** What happens meanwhile, as a script; `$pid` is its PID 1, `$freezer` the kernel's switch. */
const cases: readonly { readonly what: string; readonly script: string; readonly outcome: 'goes' | 'stays' | 'either' }[] = [
  { what: 'nothing', script: ':', outcome: 'goes' },
  // after the last round, as far as a script can wait for it; memory and disk say the same in any case
  { what: 'a write to its disk', script: 'sleep 4; nsenter --target $pid --user --mount --root sh -c "echo late >/run/late; echo late >/root/late"', outcome: 'either' },
  { what: 'that it runs on', script: 'echo $thawed >$freezer', outcome: 'stays' },
];

for (const { what, script, outcome } of cases) {
  real(`unseizable, and meanwhile ${what}`, async (t) => {
    const { spec, client, a, b } = t.context;
    const from = await until('it runs on one side', () => place(t.context));
    const to = from === a ? b : a;
    const { pid } = await from.view(spec.id);
    const { file, frozen, thawed } = freezerSwitch(await readCgroupLayout(), join(from.options.cgroupParent, spec.id));
    const flag = join(from.options.runPath, `unseizable-${what.length}`);
    await from.kill();
    await from.start('', {}, await wrapper(`freezer=${file} pid=${pid} thawed=${thawed}
if [ ! -e ${flag} ] && [ "$(cat $freezer)" = ${frozen} ]; then
  touch ${flag}
  ${script}
  echo '(00.012345) Error (criu/seize.c:1002): Unseizable non-zombie 4242 found, state D, err -1/22' >"$HAULIER_CHECKPOINT/work/dump.log"
  exit 1
fi
exec $real "$@"`));
    const before = await until('it counts', () => counted(from, spec.id));
    const words = await haul(spec.id, from, to).then(() => 'went through', (error: Error) => error.message);
    t.true(existsSync(flag));
    const now = await until('it runs on one side', () => place(t.context), 60_000);
    t.log(words);
    if (outcome !== 'either') t.is(now.name, (outcome === 'goes' ? to : from).name, words);
    if (now === from) t.regex(words, gaveUp);
    t.is(await now.guest(spec.id, 'sh', '-c', 'cat /root/late 2>/dev/null; :'), await now.guest(spec.id, 'sh', '-c', 'cat /run/late 2>/dev/null; :'));
    await client.more(50);
    t.true((await counted(now, spec.id)) >= before);
    const other = now === from ? to : from;
    await until('nothing is left', async () => (await other.traces(spec)).length === 0, 40_000).catch(() => undefined);
    t.deepEqual(await other.traces(spec), []);
    await from.kill();
    await from.start();
  });
}
