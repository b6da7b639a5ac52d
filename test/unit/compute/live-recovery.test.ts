/** Live migration over two fake hosts whose services die: who takes the server, and what becomes of the migration and its allocation. */
import test from 'ava';
import { setTimeout as sleep } from 'node:timers/promises';
import { all, LiveHosts, moved, stayed } from './live-hosts.js';
import { other } from './two-hosts.js';
import { host, uuid } from './world.js';

/** Kills a service at a fake's step: nothing of the operation goes on. */
const dies = (live: LiveHosts, step: string): Promise<void> => new Promise((resolve) => live.w.steps.before(step, () => { resolve(); return new Promise(() => undefined); }));

const deaths: [step: string, ends: object][] = [
  ['haul.copy', stayed('error')],
  ['haul.offered', stayed('error')],
  ['haul.gone', moved],
  ['placement.deleteAllocations', moved],
];
for (const [step, ends] of deaths) {
  test(`the source dies at ${step}, and its next start ends the migration`, async (t) => {
    const live = await LiveHosts.begin();
    const death = dies(live, step);
    void live.migrate();
    await death;
    await live.restart(host);
    while (live.it.row['task_state'] !== null || live.it.migration['status'] === 'running') await sleep(5);
    t.deepEqual(all(live), ends);
  });
}

test('the destination has no container of it any more: server and migration are in error, and not completed', async (t) => {
  for (const restarted of [false, true]) {
    const live = await LiveHosts.begin();
    const lose = (): void => { live.at(other).containers.made.delete(uuid); };
    if (restarted) {
      const death = dies(live, 'haul.gone');
      void live.migrate();
      await death;
      lose();
      await live.restart(host);
    } else {
      live.w.steps.before('haul.gone', lose);
      await live.migrate();
    }
    while (live.it.migration['status'] === 'running' || live.at(host).compute.locks.held(uuid)) await sleep(5);
    t.deepEqual([live.seen, live.held], [['error', null, host, 'error'], { server: [other] }]);
    t.deepEqual(live.w.nova.faults.map((fault) => [fault['host'], /was hauled to fake1, but is not there/.test(String(fault['message']))]), [[other, true], [host, true]]);
  }
});

test('the destination dies when the container is there: its next start takes the server over', async (t) => {
  const live = await LiveHosts.begin();
  const death = dies(live, 'Instance.save -/null');
  void live.migrate();
  await death;
  await live.restart(other);
  t.deepEqual([live.it.row['host'], live.it.row['task_state'], live.places, live.ports], [other, null, moved.places, moved.ports]);
});

test('the source is lost when the destination has it: the destination takes the server over by itself', async (t) => {
  const live = await LiveHosts.begin({ liveLookMs: 10 });
  const death = dies(live, 'haul.committed');
  void live.migrate();
  await death;
  while (live.it.row['host'] !== other || live.at(other).compute.locks.held(uuid)) await sleep(5);
  t.deepEqual([live.it.row['task_state'], (live.places as string[])[1], live.ports], [null, moved.places[1], moved.ports]);
  await live.restart(host); // it comes back, with its copy of the container
  t.is(live.it.migration['status'], 'completed');
});

test('the source is lost, and the server deleted: its container at the destination ends', async (t) => {
  const live = await LiveHosts.begin({ liveLookMs: 10 });
  const death = dies(live, 'haul.committed');
  void live.migrate();
  await death;
  live.it.row['deleted'] = true;
  while (live.at(other).containers.made.has(uuid)) await sleep(5);
  t.is((live.places as string[])[1], '- 0');
});

const undecided = async (step: string): Promise<{ live: LiveHosts; settle: () => void }> => {
  const live = await LiveHosts.begin({ liveLookMs: 10 });
  const death = dies(live, step);
  void live.migrate();
  await death;
  let settle!: () => void;
  const settled = new Promise<void>((resolve) => { settle = resolve; });
  await live.restart(host, new Map([[uuid, settled]]));
  return { live, settle };
};

test('an undecided haul: the server is left alone until it is settled, and recovered then', async (t) => {
  const { live, settle } = await undecided('haul.offered');
  t.true(live.at(host).compute.locks.held(uuid));
  t.is(live.it.row['task_state'], 'migrating');
  settle(); // the asking has ended, but nothing is known
  await sleep(100);
  t.true(live.at(host).compute.locks.held(uuid));
  t.deepEqual([live.it.row['task_state'], live.it.migration['status'], live.w.steps.count('cast rollback_live_migration_at_destination')], ['migrating', 'running', 0]);
  live.hauls(host).open.clear();
  while (live.it.row['task_state'] !== null || live.it.migration['status'] === 'running') await sleep(5);
  t.deepEqual(all(live), stayed('error'));
});

test('an undecided haul of a server that the destination takes over meanwhile: the migration is completed, its allocation goes', async (t) => {
  const { live, settle } = await undecided('haul.committed');
  while (live.it.row['host'] !== other) await sleep(5);
  live.at(host).containers.made.delete(uuid);
  live.hauls(host).open.clear();
  settle();
  while (live.it.migration['status'] === 'running') await sleep(5);
  t.deepEqual([live.it.migration['status'], live.held], ['completed', moved.held]);
});

test('an undecided haul of a server that is deleted meanwhile: the migration ends, its allocation goes', async (t) => {
  const { live, settle } = await undecided('haul.offered');
  live.it.row['deleted'] = true;
  live.w.placement.allocations.delete(uuid);
  live.hauls(host).open.clear();
  settle();
  while (live.it.migration['status'] === 'running') await sleep(5);
  t.deepEqual([live.it.migration['status'], live.held], ['error', {}]);
});

for (const [step, status] of [['haul.copy', 'error'], ['haul.gone', 'completed']] as const) {
  test(`the source dies at ${step}, and the server is deleted: its next start ends the migration too`, async (t) => {
    const live = await LiveHosts.begin();
    const death = dies(live, step);
    void live.migrate();
    await death;
    live.it.row['task_state'] = 'deleting';
    await live.restart(host);
    while (live.it.row['deleted'] !== true || live.at(host).compute.locks.held(uuid)) await sleep(5);
    await live.it.settled();
    t.deepEqual([live.it.migration['status'], live.held, live.places], [status, {}, ['- 0', '- 0']]);
    t.is(live.hauls(other).expected(uuid), undefined);
  });
}
