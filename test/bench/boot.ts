/**
 * How long a server takes from POST to ACTIVE: Haulier (a real container, a real port, neutron's event awaited) beside Nova's own
 * nova-compute with its fake driver (nothing made, nothing plugged, nothing awaited) on the same control plane in the same run; the latter
 * as packaged, and as a fair control with oslo.messaging's reply wait cut from 0.5 s to 5 ms (docs: devstack/fast-poll).
 *
 *     node dist/test/bench/boot.js [--runs 10] [--many 50] [--main dist/src/main.js] [--without-packaged]
 *
 * The cloud must be up (`test/bench/boot` sees to that). One server: Haulier and control take turns, each after a pause of random length, because
 * neutron's agent looks for new ports once a second and the runs would lock to its beat. Exits with 1 when anything failed.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { ManyBoots, OneBoot } from './lib/boots.js';
import { Client, cloud, Haulier, loadAverage, say } from './lib/cloud.js';
import { median, spread, table } from './lib/figures.js';

const { values: flags } = parseArgs({
  options: {
    runs: { type: 'string', default: '10' },
    many: { type: 'string', default: '50' },
    main: { type: 'string', default: 'dist/src/main.js' },
    'without-packaged': { type: 'boolean', default: false },
  },
});
const runs = Number(flags.runs);
const count = Number(flags.many);

/** One candidate's results. */
interface Column {
  readonly name: string;
  readonly host: string;
  readonly ones: OneBoot[];
  many: ManyBoots | undefined;
}

const haulier = new Haulier('host1');
const column = (name: string, host: string): Column => ({ name, host, ones: [], many: undefined });
const ours = column('Haulier', haulier.host);
const control = column('fake driver, 5 ms poll', 'stock1');
const packaged = column('fake driver, as packaged', 'stock1');

/** `runs` boots of each in turn, after one of each to warm up. */
async function singles(client: Client, columns: readonly Column[]): Promise<void> {
  for (let run = 0; run <= runs; run++) {
    for (const { name, host, ones } of columns) {
      await sleep(1000 + Math.random() * 1000);
      const one = await client.tell<OneBoot>({ do: 'one', host, count: 1 });
      if (run > 0) ones.push(one);
      say(`${name}: ${one.active.toFixed(2)} s${run > 0 ? '' : ' (warm-up)'}`);
    }
  }
}

async function many(client: Client, into: Column): Promise<void> {
  if (count === 0) return;
  await sleep(3000);
  into.many = await client.tell<ManyBoots>({ do: 'many', host: into.host, count });
  say(`${into.name}: ${count} at once in ${into.many.all.toFixed(1)} s`);
}

async function measure(client: Client): Promise<void> {
  await client.login();
  say('stock1: up, with the 5 ms poll');
  await cloud('stock', 'down');
  await cloud('stock', 'up', '--fast-poll');
  await singles(client, [ours, control]);
  await many(client, ours);
  await many(client, control);
  if (!flags['without-packaged']) {
    say('stock1: up, as packaged');
    await cloud('stock', 'down');
    await cloud('stock', 'up');
    await singles(client, [packaged]);
    await many(client, packaged);
  }
  await client.tell({ do: 'end' });
}

function report(loadBefore: string): void {
  const built = haulier.built();
  const shares = ours.ones.flatMap(({ server }) => built.get(server) ?? []);
  if (shares.length < ours.ones.length) throw new Error(`the log tells only of ${shares.length} of ${ours.ones.length} builds`);
  const seconds = (ms: readonly number[]): number[] => ms.map((value) => value / 1000);
  const own = seconds(shares.map((row) => row.ms - row.queued - row.waited));
  const whole = seconds(shares.map((row) => row.ms));
  const waited = seconds(shares.map((row) => row.waited));
  const columns = [ours, control, ...(flags['without-packaged'] ? [] : [packaged])];
  const cells = (get: (of: Column) => string): string[] => columns.map(get);
  const rows = [
    ['seconds', ...cells(({ name }) => name)],
    [`one: POST to ACTIVE (${runs} runs: min / median / max)`, ...cells(({ ones }) => spread(ones.map((one) => one.active)))],
    ['one: DELETE until gone', ...cells(({ ones }) => spread(ones.map((one) => one.gone)))],
    [`${count} in one POST: all ACTIVE`, ...cells((of) => of.many?.all.toFixed(1) ?? '-')],
    [`${count} in one POST: the first ACTIVE`, ...cells((of) => of.many?.first.toFixed(1) ?? '-')],
    [`${count} deleted: all gone`, ...cells((of) => of.many?.gone.toFixed(1) ?? '-')],
    ['compute: RPC in to result saved', spread(whole), ...columns.slice(1).map(() => '')],
    ['  of it only waiting for neutron\'s event', spread(waited), ...columns.slice(1).map(() => '')],
    ['  the rest: Haulier\'s own share', spread(own), ...columns.slice(1).map(() => '')],
  ];
  const ratio = (of: Column, get: (one: Column) => number | undefined): number => (get(ours) ?? NaN) / (get(of) ?? NaN);
  const one = (of: Column): number => median(of.ones.map((item) => item.active));
  const figures = {
    runs,
    count,
    load: { before: loadBefore, after: loadAverage() },
    columns: columns.map((of) => ({ name: of.name, active: of.ones.map((item) => item.active), gone: of.ones.map((item) => item.gone), many: of.many })),
    haulier: { own, waited, whole },
    ratios: Object.fromEntries(columns.slice(1).map((of) => [of.name, { one: ratio(of, one), many: ratio(of, (item) => item.many?.all) }])),
  };
  process.stdout.write(`\n${table(rows)}\n\nload average before ${loadBefore}, after ${figures.load.after}\n`);
  for (const [name, value] of Object.entries(figures.ratios)) process.stdout.write(`Haulier / ${name}: one ${value.one.toFixed(2)}, ${count} at once ${value.many.toFixed(2)}\n`);
  process.stdout.write(`${JSON.stringify(figures)}\n`);
}

const loadBefore = loadAverage();
let client: Client | undefined;
try {
  // 50 flavors of one vCPU fit, and a slow agent under 50 boots at once is no failure
  say(`${haulier.host}: Haulier from ${flags.main}`);
  await haulier.restart(flags.main, { cpu_allocation_ratio: '64', vif_plugging_timeout: '900' });
  await cloud('discover');
  client = new Client('host2');
  await measure(client);
  report(loadBefore);
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
} finally {
  client?.end();
}
