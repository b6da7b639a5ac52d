/**
 * What an idle Haulier costs: memory as PSS (its share of shared pages counted once, /proc/PID/smaps_rollup) and processor time, after a
 * rest, without a container and with some; Nova's own nova-compute (fake driver) beside it. The containers' monitors (conmon) are named too:
 * they are other processes and outlive the service. PSS depends on who else runs node from the same file: here two Hauliers and
 * the client do, so the private pages are shown beside it; the same holds for nova-compute and Python.
 *
 *     node dist/test/bench/idle.js [--rest 60] [--containers 10] [--main dist/src/main.js]
 *
 * The cloud must be up. Exits with 1 when Haulier needs more than 65 MiB or is busy (more than 2 % of one processor), or anything failed.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Client, cloud, Haulier, loadAverage, pidOf, say } from './lib/cloud.js';
import { table } from './lib/figures.js';
import { commandLines, cpuSeconds, rollup } from './lib/machine.js';

const goal = { pssMiB: 65, busyPercent: 2 };

const { values: flags } = parseArgs({
  options: { rest: { type: 'string', default: '60' }, containers: { type: 'string', default: '10' }, main: { type: 'string', default: 'dist/src/main.js' } },
});
const rest = Number(flags.rest);
const count = Number(flags.containers);

interface Idle {
  readonly name: string;
  readonly pssMiB: number;
  readonly rssMiB: number;
  /** Pages that nobody else has: what PSS would be at least, however many share the program's text. */
  readonly privateMiB: number;
  /** Of one processor, over the last `rest` seconds. */
  readonly busyPercent: number;
}

/** Rests, then rests again under observation. */
async function idle(names: ReadonlyMap<string, number>): Promise<Idle[]> {
  await sleep(rest * 1000);
  const before = new Map([...names].map(([name, pid]) => [name, cpuSeconds(pid)]));
  await sleep(rest * 1000);
  return [...names].map(([name, pid]) => ({ name, pssMiB: rollup(pid, 'Pss'), rssMiB: rollup(pid, 'Rss'), privateMiB: rollup(pid, 'Private_Clean') + rollup(pid, 'Private_Dirty'), busyPercent: ((cpuSeconds(pid) - (before.get(name) ?? 0)) / rest) * 100 }));
}

/** Mean PSS of a container's monitor. */
function monitors(): { readonly count: number; readonly pssMiB: number } {
  const sizes = [...commandLines()].filter(([, [command = '']]) => command.endsWith('conmon')).map(([pid]) => rollup(pid, 'Pss'));
  return { count: sizes.length, pssMiB: sizes.reduce((sum, size) => sum + size, 0) / Math.max(1, sizes.length) };
}

async function measure(client: Client): Promise<void> {
  const haulier = new Haulier('host1');
  say(`host1: Haulier from ${flags.main}, anew`);
  await haulier.restart(flags.main, { cpu_allocation_ratio: '64', vif_plugging_timeout: '900' });
  await cloud('stock', 'up');
  await cloud('discover');
  await client.login();
  say(`at rest for ${2 * rest} s`);
  const results = await idle(new Map([['Haulier, freshly started', haulier.pid()], ['nova-compute, fake driver', pidOf('stock1-agent.nova-compute')]]));
  say(`${count} containers`);
  await client.tell({ do: 'keep', host: 'host1', count });
  results.push(...(await idle(new Map([[`Haulier, after booting ${count}, which run`, haulier.pid()]]))));
  const { pssMiB, count: found } = monitors();
  await client.tell({ do: 'clear' });
  await client.tell({ do: 'end' });
  results.push(...(await idle(new Map([[`Haulier, after deleting them`, haulier.pid()]]))));
  const rows = results.map((row) => [row.name, row.pssMiB.toFixed(1), row.privateMiB.toFixed(1), row.rssMiB.toFixed(1), row.busyPercent.toFixed(2)]);
  process.stdout.write(`\n${table([['', 'PSS MiB', 'private MiB', 'RSS MiB', 'busy %'], ...rows])}\n\n${found} monitors (conmon) on this machine, PSS ${pssMiB.toFixed(2)} MiB each; load average ${loadAverage()}\n`);
  process.stdout.write(`${JSON.stringify({ rest, containers: count, results, monitors: { count: found, pssMiB } })}\n`);
  const bad = results.filter((row) => row.name.startsWith('Haulier') && (row.pssMiB > goal.pssMiB || row.busyPercent > goal.busyPercent));
  for (const row of bad) process.stderr.write(`bench: ${row.name}: over the goal of ${goal.pssMiB} MiB and ${goal.busyPercent} %\n`);
  if (bad.length > 0) process.exitCode = 1;
}

let client: Client | undefined;
try {
  client = new Client('host2');
  await measure(client);
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
} finally {
  client?.end();
}
