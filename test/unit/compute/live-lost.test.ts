/** Live migrations one of whose hosts is lost for good: what an operator's word does in Nova, and that no evacuation makes a second copy. */
import test from 'ava';
import { setTimeout as sleep } from 'node:timers/promises';
import { HaulierError } from '../../../src/base/errors.js';
import { decideHaul } from '../../../src/compute/live/decide.js';
import { all, broken, LiveHosts, moved, stayed, third, thirdNode } from './live-hosts.js';
import { other, otherNode } from './two-hosts.js';
import { failure } from '../nova/fake-rpc.js';
import { host, uuid } from './world.js';

/** Which of the hosts that live have it running. */
const running = (live: LiveHosts, ...hosts: string[]): string[] => hosts.filter((name) => live.at(name).containers.made.get(uuid)?.state === 'running');

/** The source is lost for good at a step of the haul. */
async function sourceLost(step: string, liveLookMs: number): Promise<LiveHosts> {
  const live = await LiveHosts.begin({ liveLookMs });
  await live.addThird();
  const death = new Promise<void>((resolve) => live.w.steps.before(step, () => { resolve(); return new Promise(() => undefined); }));
  void live.migrate();
  await death;
  live.it.down.add(host);
  return live;
}
const never = 3_600_000;

test('an operator says that the other host has it, and that host does not answer: Nova has the server there, from where it can be evacuated, and the migration is completed', async (t) => {
  const live = await LiveHosts.begin();
  live.w.steps.before('haul.gone', () => void live.it.down.add(other));
  await live.migrate();
  t.deepEqual(all(live), moved);
  live.it.down.delete(other);
  await live.restart(other); // it comes back
  t.deepEqual(all(live), moved);
  t.deepEqual(running(live, host, other), [other]);
});

test('an operator says that it goes on here: the migration is taken back, with ports and allocation', async (t) => {
  const live = await LiveHosts.begin();
  live.w.steps.before('haul.dump', () => void live.it.down.add(other));
  live.w.steps.fail('haul.offered', broken()); // as `runSource` ends then
  await live.migrate();
  t.deepEqual({ ...all(live), places: undefined }, { ...stayed('failed'), places: undefined }); // what lies at the host that is lost is lost
  t.deepEqual(running(live, host, other), [host]);
});

test('that it goes on here counts only where Nova has the server here too, and not in an evacuation', async (t) => {
  const live = await LiveHosts.begin();
  const decided: string[] = [];
  const decide = async (outcome: 'committed' | 'aborted'): Promise<string> => {
    try {
      await decideHaul(live.at(host).compute, uuid, outcome, async () => { decided.push(outcome); });
      return 'done';
    } catch (error) {
      return `${(error as HaulierError).code} ${(error as Error).message}`;
    }
  };
  live.it.row['host'] = other;
  t.regex(await decide('aborted'), /^HAUL_NO_DECISION .*Nova has the server on fake1/);
  Object.assign(live.it.row, { host, task_state: 'rebuilding' });
  t.regex(await decide('aborted'), /^HAUL_NO_DECISION .*is being evacuated/);
  live.it.row['task_state'] = 'migrating';
  live.w.steps.fail('Instance.get_by_uuid', failure('DBError'));
  t.regex(await decide('aborted'), /^HAUL_NO_DECISION .*Nova cannot be asked/);
  t.deepEqual(decided, []);
  t.is(await decide('aborted'), 'done');
  live.it.row['host'] = other;
  t.is(await decide('committed'), 'done');
  t.deepEqual(decided, ['aborted', 'committed']);
});

test('an evacuation that is faster than the destination of a haul makes no second copy: that host takes the server over', async (t) => {
  const live = await sourceLost('haul.committed', never);
  await t.throwsAsync(live.evacuate(), { code: 'EVACUATION_REFUSED', message: /runs on fake1, which has taken it over just now/ });
  t.deepEqual(running(live, other, third), [other]);
  t.deepEqual([live.it.row['host'], live.it.row['task_state'], live.it.row['vm_state']], [other, null, 'active']);
  t.deepEqual(live.w.nova.migrations.at(-1)!['status'], 'failed');
  t.deepEqual(Object.keys(live.w.placement.allocations.get(uuid)!), [otherNode]);
  t.deepEqual(live.ports, moved.ports);
  live.it.down.delete(host);
  live.at(host).containers.made.delete(uuid); // the source comes back, and its haul room removes the copy
  await live.restart(host);
  t.deepEqual([live.w.nova.migrations.map(({ status }) => status), live.held], [['completed', 'failed'], moved.held]);
});

test('an evacuation while the destination does not answer is refused; when it is back it takes the server over', async (t) => {
  const live = await sourceLost('haul.committed', never);
  live.it.down.add(other);
  await t.throwsAsync(live.evacuate(), { code: 'EVACUATION_REFUSED', message: /does not say whether it has come/ });
  t.deepEqual([live.it.row['host'], live.it.row['task_state'], running(live, third)], [host, null, []]);
  live.it.down.delete(other);
  await live.restart(other);
  t.deepEqual([live.it.row['host'], live.it.row['task_state'], running(live, other, third)], [other, null, [other]]);
});

test('an evacuation to the destination itself is refused, and costs it nothing of what it holds', async (t) => {
  const live = await sourceLost('haul.committed', 50);
  live.it.row['task_state'] = 'rebuilding';
  await t.throwsAsync(live.evacuate(other), { code: 'EVACUATION_REFUSED', message: /has come/ });
  while (live.it.row['host'] !== other || live.at(other).compute.locks.held(uuid)) await sleep(5);
  t.deepEqual([running(live, other), Object.keys(live.w.placement.allocations.get(uuid)!)], [[other], [otherNode]]);
});

test('an evacuation of a server whose haul has brought nothing goes through, and ends the live migration', async (t) => {
  const live = await sourceLost('haul.copy', never);
  await live.evacuate();
  t.deepEqual([live.it.row['host'], live.it.row['task_state'], running(live, other, third)], [third, null, [third]]);
  t.deepEqual(live.w.nova.migrations.map(({ status }) => status), ['error', 'done']);
  t.deepEqual([live.hauls(other).expected(uuid), [...live.w.placement.allocations.keys()]], [undefined, [uuid]]);
});

test('an evacuation while a haul by restart is coming takes over nothing that is not committed, and makes no second copy, at whatever host', async (t) => {
  const live = await sourceLost('haul.copy', never);
  const coming = { ...live.at(host).containers.made.get(uuid)! };
  const hauls = live.hauls(other);
  hauls.arriving.add(uuid);
  for (const state of ['missing', 'stopped', 'running'] as const) { // before it lands, when it has, and when it is started with mute ports
    if (state !== 'missing') live.at(other).containers.made.set(uuid, { ...coming, state });
    await t.throwsAsync(live.evacuate(), { code: 'EVACUATION_REFUSED', message: /does not say whether it has come: .*arriving/ });
    await t.throwsAsync(live.evacuate(other), { code: 'EVACUATION_REFUSED', message: /has come, or is coming/ });
    t.deepEqual([live.it.row['host'], live.w.nova.migrations[0]!['status'], running(live, third)], [host, 'running', []]);
  }
  live.at(other).containers.made.delete(uuid); // its source is gone, so it is given up
  hauls.arriving.delete(uuid);
  await live.evacuate();
  t.deepEqual([live.it.row['host'], running(live, other, third)], [third, [third]]);
  t.is(hauls.expected(uuid), undefined, 'a haul that had not begun cannot begin any more');
});

test('a server that came, and was evacuated elsewhere by a host that did not ask: of two that run, Nova\'s stays', async (t) => {
  const live = await sourceLost('haul.committed', 50);
  Object.assign(live.it.row, { host: third, node: third, task_state: null });
  live.w.placement.allocations.get(uuid)![thirdNode] = { VCPU: 1 };
  live.at(third).containers.made.set(uuid, live.at(other).containers.made.get(uuid)!);
  live.w.nova.migrations.push({ ...live.it.migration, id: 90, uuid: 'e', status: 'done', migration_type: 'evacuation', source_compute: host, dest_compute: third });
  while (running(live, other, third).length > 1 || live.at(other).compute.locks.held(uuid)) await sleep(5);
  while (live.w.nova.migrations[0]!['status'] === 'running') await sleep(5);
  t.deepEqual([running(live, other, third), live.w.nova.migrations[0]!['status'], live.w.placement.allocations.get(uuid)], [[third], 'error', { [thirdNode]: { VCPU: 1 } }]);
});
