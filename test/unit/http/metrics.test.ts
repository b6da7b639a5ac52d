import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { featureTable, type Abilities } from '../../../src/container/abilities.js';
import { Tally } from '../../../src/container/checkpoint/tally.js';
import { HaulBoard } from '../../../src/haul/board.js';
import { HaulTracker } from '../../../src/haul/live/tracker.js';
import { silentLog } from '../../../src/base/log.js';
import { Timings } from '../../../src/base/timings.js';
import { metricsPage, type ServiceFigures } from '../../../src/http/metrics.js';
import { startHttp } from '../../../src/http/server.js';

const abilities: Abilities = { criu: '4.2.1', kernel: 'a "b" \\ c', problem: undefined, features: Object.fromEntries(featureTable.map(({ name }) => [name, name !== 'mem_dirty_track'])) as Abilities['features'] };

function figures(): ServiceFigures {
  const [requests, calls, ended, events, periodic] = [new Timings(), new Timings(), new Timings(), new Timings(), new Timings()];
  requests.add('start_instance', 'done', 0.3);
  requests.add('start_instance', 'failed', 2);
  calls.add('conductor object_action', 'timeout', 60);
  ended.add('start_instance', 'aborted', 1);
  events.add('network-vif-plugged', 'completed', 1.5);
  periodic.add('sync_power_states', 'done', 0.25);
  return { requests: requests.rows, calls: calls.rows, ended: ended.rows, events: events.rows, periodic: periodic.rows, periodicCpu: [['sync_power_states', 0.125]], heartbeatAge: 4.5 };
}

test('the page: every line is a comment or a figure, every figure has its type', async (t) => {
  const tally = new Tally();
  tally.add('suspend', 'done', 0.15);
  tally.add('suspend', 'done', 3);
  tally.add('resume', 'failed', 500);
  tally.frozen(0.025);
  tally.image(true);
  tally.image(true);
  tally.image(false);
  const board = new HaulBoard();
  const tracker = new HaulTracker();
  Object.assign(tracker, { mode: 'pre-copy', reason: 'asked for' });
  const what = { haul: 'h', instance: 'i', direction: 'out', peer: 'b', address: '192.0.2.1', port: 1 } as const;
  await board.run(board.begin(what, tracker), tracker, () => false, async () => {
    tracker.begin('memory', 1, 0).end(4096);
    tracker.begin('disk', 1, 0).end(100);
    tracker.freezes();
    await sleep(5);
    tracker.frozen();
    tracker.running();
  });
  const early = new HaulTracker();
  await t.throwsAsync(board.run(board.begin(what, early), early, () => true, async () => { throw new Error('given up'); }));
  board.begin({ ...what, direction: 'in' });
  const page = metricsPage({ ready: true, states: ['running', 'running', 'suspended'], operations: 2, abilities, tally, service: figures(), images: 3, hauls: board.figures });
  const lines = page.trimEnd().split('\n');
  const types = new Map(lines.filter((line) => line.startsWith('# TYPE ')).map((line) => line.split(' ').slice(2) as [string, string]));
  for (const line of lines.filter((item) => !item.startsWith('#'))) {
    const match = /^([a-z_]+)(\{([a-z]+="(?:[^"\\]|\\.)*",?)+\})? -?[0-9.e+-]+$/.exec(line);
    t.truthy(match, line);
    t.true(types.has(match![1]!) || types.has(match![1]!.replace(/_(bucket|sum|count)$/, '')), line);
  }
  for (const line of [
    'haulier_containers{state="running"} 2', 'haulier_containers{state="suspended"} 1', 'haulier_containers{state="crashed"} 0', 'haulier_operations 2', 'haulier_criu_fit 1',
    'haulier_criu_feature{feature="userns"} 1', 'haulier_criu_feature{feature="mem_dirty_track"} 0', 'haulier_criu_info{criu="4.2.1",kernel="a \\"b\\" \\\\ c"} 1',
    'haulier_rpc_seconds_bucket{method="start_instance",result="done",le="0.5"} 1', 'haulier_rpc_seconds_count{method="start_instance",result="failed"} 1', 'haulier_rpc_call_seconds_count{topic="conductor",method="object_action",result="timeout"} 1',
    'haulier_operation_seconds_count{operation="start_instance",result="aborted"} 1', 'haulier_event_wait_seconds_sum{event="network-vif-plugged",result="completed"} 1.5', 'haulier_heartbeat_age_seconds 4.5',
    'haulier_periodic_seconds_sum{task="sync_power_states",result="done"} 0.25', 'haulier_periodic_cpu_seconds_total{task="sync_power_states"} 0.125',
    'haulier_hauls_under_way{direction="out"} 0', 'haulier_hauls_under_way{direction="in"} 1', 'haulier_haul_seconds_count{mode="pre-copy",result="done"} 1', 'haulier_haul_seconds_count{mode="post-copy",result="failed"} 0',
    'haulier_haul_seconds_count{mode="none",result="aborted"} 1', 'haulier_haul_frozen_seconds_count{mode="pre-copy"} 1', 'haulier_haul_frozen_seconds_count{mode="post-copy"} 0',
    'haulier_haul_bytes_total{kind="memory"} 4096', 'haulier_haul_bytes_total{kind="disk"} 100',
    'haulier_images 3', 'haulier_image_requests_total{cache="hit"} 2', 'haulier_image_requests_total{cache="miss"} 1',
    'haulier_freeze_seconds_bucket{operation="suspend",result="done",le="0.2"} 1', 'haulier_freeze_seconds_bucket{operation="suspend",result="done",le="+Inf"} 2',
    'haulier_freeze_seconds_count{operation="suspend",result="failed"} 0', 'haulier_freeze_seconds_sum{operation="suspend",result="done"} 3.15',
    'haulier_freeze_seconds_bucket{operation="resume",result="failed",le="120"} 0', 'haulier_freeze_seconds_count{operation="resume",result="failed"} 1', 'haulier_frozen_seconds_sum 0.025',
  ]) t.true(lines.includes(line), line);
  t.false(metricsPage({ ready: false, states: [], operations: 0, abilities: undefined, tally, service: { ...figures(), heartbeatAge: undefined }, images: 0, hauls: new HaulBoard().figures }).includes('criu_f'), 'what is not known yet is not claimed');
});

test('it is served as text; times are taken of what works and of what fails', async (t) => {
  const tally = new Tally();
  await tally.time('suspend', async () => 1);
  await t.throwsAsync(tally.time('suspend', async () => { throw new Error('x'); }));
  const server = await startHttp({ host: '127.0.0.1', port: 0 }, {
    notReady: () => [], containers: async () => [], verdict: async () => { throw new Error('not used'); }, operations: () => [], abilities: () => abilities, tally, figures, images: async () => ['a'], hauls: new HaulBoard(),
  }, silentLog());
  try {
    const answer = await fetch(`http://127.0.0.1:${server!.port}/metrics`);
    t.is(answer.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
    const text = await answer.text();
    t.true(text.includes('haulier_ready 1\n') && text.includes('haulier_freeze_seconds_count{operation="suspend",result="done"} 1\n') && text.includes('haulier_freeze_seconds_count{operation="suspend",result="failed"} 1\n'));
  } finally {
    await server?.close();
  }
});
