/**
 * Many minimal containers on one host: through the service (the real one, with RabbitMQ, runc and conmon; Nova's part is played by the
 * built-in control plane, devstack/standalone), and beside them, in another mount namespace of this machine, bare ones: runc and conmon
 * with the same configuration (lib/bare-containers.ts). They come in turns, a wave of each, so that ratios count and not seconds.
 *
 *     node dist/test/bench/density.js [--containers 50] [--wave 10] [--at-once 2] [--rest 30] [--main dist/src/main.js] [--without-bare]
 *
 * Figures, as one line of JSON each: `boot` and `remove` (seconds a container, of each wave), `memory` (what the machine has less of,
 * and where), `idle` (processor time of the service with all of them running), `restart` (from the process to `ready`), and `goals`.
 * Makes hosts of its own, takes them away at the end, also after a failure, and refuses where one of that name is up.
 * Exits with 1 when a goal was missed or anything failed.
 */
import { closeSync, existsSync, openSync, readFileSync, readlinkSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { DensityCommand, Wave } from './density-host.js';
import { cloud, loadAverage, pidOf, say, setOptions, work } from './lib/cloud.js';
import { median } from './lib/figures.js';
import { Inside } from './lib/inside.js';
import { beganAt, childrenCpuSeconds, commandLines, cpuSeconds, groupMiB, machineGroup, memory, memorySum, memoryTaken, rollup, type Memory } from './lib/machine.js';

/** The service's part of the memory beside bare containers; of a restart; how much faster than bare its boots may slow down (noise). */
const goal = { memoryShare: 0.2, restartSeconds: 10, slowing: 1.15 };
const settleMs = 1500;
const hosts = { service: 'solo', bare: 'bare' } as const;
/** Of the tasks that are measured one by one, in seconds: often enough for a run or more in `rest`. */
const often = 10;
const spacings = ['update_resources_interval', 'sync_power_state_interval', 'heal_instance_info_cache_interval', 'running_deleted_instance_poll_interval'];

const { values: flags } = parseArgs({
  options: {
    containers: { type: 'string', default: '50' }, wave: { type: 'string', default: '10' }, 'at-once': { type: 'string', default: '2' }, rest: { type: 'string', default: '30' },
    main: { type: 'string', default: 'dist/src/main.js' }, 'without-bare': { type: 'boolean', default: false },
  },
});
const [count, waveSize, atOnce, rest] = [Number(flags.containers), Number(flags.wave), Number(flags['at-once']), Number(flags.rest)];

type Kind = keyof typeof hosts;
const kinds: readonly Kind[] = flags['without-bare'] ? ['service'] : ['service', 'bare'];

interface Turn extends Wave {
  readonly kind: Kind;
  /** How many of its kind there were before a wave of boots, or are after one of removals. */
  readonly beside: number;
  readonly memory: Memory;
  /** Of the service's own process and of the commands that it ran, seconds. */
  readonly cpu: { readonly own: number; readonly children: number } | undefined;
}

function print(what: string, value: object): void {
  process.stdout.write(`${JSON.stringify({ what, ...value })}\n`);
}

const logFile = join(work, 'hosts', hosts.service, 'haulier.log');

/** Starts the service, with these options in [DEFAULT]. @returns seconds from the process to `ready` */
async function start(options: Readonly<Record<string, string>> = {}): Promise<number> {
  await setOptions(hosts.service, options);
  let at = existsSync(logFile) ? statSync(logFile).size : 0;
  await cloud('haulier', 'start', hosts.service, flags.main);
  const pid = pidOf(`${hosts.service}.haulier`);
  const began = beganAt(pid);
  let text = '';
  for (let tries = 0; ; tries++) {
    const more = readFrom(at);
    at += more.length;
    text += more.toString('utf8');
    const ready = text.split('\n').find((line) => line.startsWith('{') && line.includes('"msg":"ready"'));
    if (ready !== undefined) return (Date.parse((JSON.parse(ready) as { time: string }).time) - began) / 1000;
    if (tries > 3000 || !existsSync(`/proc/${pid}`)) throw new Error(`the service is not ready (${logFile})`);
    await sleep(100);
  }
}

function readFrom(at: number): Buffer {
  const buffer = Buffer.alloc(Math.max(0, statSync(logFile).size - at));
  const file = openSync(logFile, 'r');
  try {
    return buffer.subarray(0, readSync(file, buffer, 0, buffer.length, at));
  } finally {
    closeSync(file);
  }
}

const servicePid = (): number => pidOf(`${hosts.service}.haulier`);
const serviceCpu = (): { own: number; children: number } => ({ own: cpuSeconds(servicePid()), children: childrenCpuSeconds(servicePid()) });

async function turn(inside: Inside, kind: Kind, command: DensityCommand & { count: number }, beside: number): Promise<Turn> {
  const [before, cpu] = [memory(), serviceCpu()];
  const wave = await inside.tell<Wave>(command);
  const used = serviceCpu();
  await sleep(settleMs);
  return { ...wave, kind, beside, memory: memoryTaken(before, memory()), cpu: kind === 'service' ? { own: used.own - cpu.own, children: used.children - cpu.children } : undefined };
}

function tell(what: string, { kind, count: size, seconds, ms, beside, cpu }: Turn): void {
  const round = (value: number): number => Math.round(value * 10000) / 10000;
  print(what, { kind, beside, count: size, secondsEach: round(seconds / size), medianMs: Math.round(median(ms)), ...(cpu ? { cpuSecondsEach: { own: round(cpu.own / size), children: round(cpu.children / size) } } : {}) });
}

type Insides = ReadonlyMap<Kind, Inside>;

async function waves(insides: Insides, what: 'boot' | 'remove'): Promise<Turn[]> {
  const turns: Turn[] = [];
  for (let done = 0; done < count; done += waveSize) {
    const size = Math.min(waveSize, count - done);
    const beside = what === 'boot' ? done : count - done - size;
    for (const [kind, inside] of insides) {
      const result = await turn(inside, kind, { do: what, count: size, atOnce }, beside);
      tell(what, result);
      turns.push(result);
    }
    say(`${what}: ${done + size} of ${count}`);
  }
  return turns;
}

const pssOf = (monitors: readonly number[]): number => monitors.reduce((sum, pid) => sum + rollup(pid, 'Pss'), 0) / Math.max(1, monitors.length);

const initOf = (kind: Kind): number => Number(readFileSync(join(work, 'ns', hosts[kind]), 'utf8').split(' ')[0]);

function pidNamespace(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return ''; // it has ended
  }
}

/** Pids of the monitors, by whose they are: other hosts of this machine have some too. */
function monitorsOf(kind: Kind): number[] {
  const own = pidNamespace(initOf(kind));
  return [...commandLines()].filter(([pid, args]) => args[0]?.endsWith('conmon') && pidNamespace(pid) === own).map(([pid]) => pid);
}

/** What one container's own control group holds, MiB: its processes and the kernel's memory for them. */
function groupMiBEach(kind: Kind): number {
  const group = machineGroup(initOf(kind));
  return (groupMiB(group) - groupMiB(join(group, 'host'))) / count;
}

interface ServiceMemory { readonly pssMiB: number; readonly privateMiB: number; readonly rssMiB: number }

function serviceMemory(): ServiceMemory {
  const pid = servicePid();
  return { pssMiB: rollup(pid, 'Pss'), privateMiB: rollup(pid, 'Private_Clean') + rollup(pid, 'Private_Dirty'), rssMiB: rollup(pid, 'Rss') };
}

/** Rests under observation. @returns percent of one processor */
async function idle(): Promise<{ readonly service: number; readonly commands: number; readonly standIn: number }> {
  const standIn = pidOf(`${hosts.service}.standalone`);
  const before = { ...serviceCpu(), standIn: cpuSeconds(standIn) };
  await sleep(rest * 1000);
  const after = serviceCpu();
  const percent = (seconds: number): number => Math.round((seconds / rest) * 10000) / 100;
  return { service: percent(after.own - before.own), commands: percent(after.children - before.children), standIn: percent(cpuSeconds(standIn) - before.standIn) };
}

interface Task { readonly runs: number; readonly seconds: number; readonly cpuSeconds: number }

/** The periodic tasks, from the service's metrics. */
async function tasks(inside: Inside): Promise<ReadonlyMap<string, Task>> {
  const page = await inside.tell<string>({ do: 'page' });
  const value = (metric: string, task: string): number => page.split('\n').filter((line) => line.startsWith(`${metric}{`) && line.includes(`task="${task}"`)).reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  const names = new Set([...page.matchAll(/^haulier_periodic_seconds_count\{task="(\w+)",/gm)].map(([, name]) => name ?? ''));
  return new Map([...names].map((name) => [name, { runs: value('haulier_periodic_seconds_count', name), seconds: value('haulier_periodic_seconds_sum', name), cpuSeconds: value('haulier_periodic_cpu_seconds_total', name) }]));
}

async function tasksEach(inside: Inside): Promise<void> {
  await start(Object.fromEntries([...spacings, 'periodic_fuzzy_delay'].map((name) => [name, name === 'periodic_fuzzy_delay' ? '0' : String(often)])));
  await sleep(Math.max(rest, 2.5 * often) * 1000);
  for (const [task, { runs, seconds, cpuSeconds: cpu }] of await tasks(inside)) print('task', { task, runs, secondsEach: seconds / runs, cpuSecondsEach: cpu / runs });
  const before = cpuSeconds(servicePid());
  await inside.tell({ do: 'page' });
  print('task', { task: 'a scrape of /metrics', runs: 1, cpuSecondsEach: cpuSeconds(servicePid()) - before });
  await cloud('haulier', 'stop', hosts.service);
}

/** Slower at the end than at the beginning by this factor: seconds a container of the last fifth of the waves (one at least), by those of the first. */
function slowing(turns: readonly Turn[], kind: Kind): number {
  const own = turns.filter((one) => one.kind === kind);
  const part = Math.max(1, Math.floor(own.length / 5));
  const each = (some: readonly Turn[]): number => some.reduce((sum, { seconds }) => sum + seconds, 0) / some.reduce((sum, { count: size }) => sum + size, 0);
  return each(own.slice(-part)) / each(own.slice(0, part));
}

const perContainer = (taken: Memory): Record<string, number> => Object.fromEntries(Object.entries(taken).map(([field, mib]) => [field, Math.round((mib / count) * 1000) / 1000]));

async function measure(insides: Insides): Promise<boolean> {
  const service = insides.get('service')!;
  const before = { memory: serviceMemory(), idle: await idle(), restart: await restart() };
  const boots = await waves(insides, 'boot');
  for (const [kind, inside] of insides) {
    const alive = await inside.tell<number>({ do: 'alive' });
    if (alive !== count) throw new Error(`${alive} of ${count} ${kind} containers run`);
  }
  const taken = new Map(kinds.map((kind) => [kind, perContainer(memorySum(boots.filter((one) => one.kind === kind).map((one) => one.memory)))]));
  const monitors = Object.fromEntries(kinds.map((kind) => [kind, pssOf(monitorsOf(kind))]));
  const groups = Object.fromEntries(kinds.map((kind) => [kind, groupMiBEach(kind)])) as Record<Kind, number>;
  const full = { memory: serviceMemory(), idle: await idle() };
  print('memory', { containers: count, groupMiBEach: groups, machineMiBEach: Object.fromEntries(taken), monitorPssMiB: monitors, service: { empty: before.memory, full: full.memory } });
  print('idle', { containers: count, rest, percentOfOneProcessor: { empty: before.idle, full: full.idle } });
  const restarts = [await restart(), await restart()];
  await cloud('haulier', 'stop', hosts.service);
  await tasksEach(service);
  restarts.push(await start(Object.fromEntries([...spacings, 'periodic_fuzzy_delay'].map((name) => [name, '']))));
  print('restart', { containers: count, seconds: restarts, emptySeconds: before.restart });
  const removals = await waves(insides, 'remove');
  print('after', { service: serviceMemory(), monitors: monitorsOf('service').length });
  return judge(boots, removals, { restarts, bare: (groups.bare ?? NaN) + (monitors['bare'] ?? NaN), service: groups.service + (monitors['service'] ?? NaN) + (full.memory.pssMiB - before.memory.pssMiB) / count });
}

async function restart(): Promise<number> {
  await cloud('haulier', 'stop', hosts.service);
  return await start();
}

interface Found {
  readonly restarts: readonly number[];
  /** MiB a container: its control group and its monitor, and through the service what that has grown by. */
  readonly bare: number;
  readonly service: number;
}

function judge(boots: readonly Turn[], removals: readonly Turn[], { restarts, bare, service }: Found): boolean {
  const slowings = Object.fromEntries(kinds.flatMap((kind) => [[`${kind}Boots`, slowing(boots, kind)], [`${kind}Removals`, slowing(removals, kind)]])) as Record<string, number>;
  const met = {
    memory: !(service / bare - 1 > goal.memoryShare),
    restart: median(restarts) < goal.restartSeconds,
    boots: !((slowings['serviceBoots'] ?? NaN) / (slowings['bareBoots'] ?? NaN) > goal.slowing),
  };
  print('goals', { containers: count, goal, memoryMiBEach: { bare, service }, restartSeconds: median(restarts), slowing: slowings, met, load: loadAverage() });
  return Object.values(met).every(Boolean);
}

async function take(work: () => Promise<unknown>): Promise<void> {
  await work().catch((error: unknown) => process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`));
}

/** Ends what this has made. */
async function clear(insides: Insides): Promise<void> {
  for (const inside of insides.values()) inside.end();
  await take(() => cloud('haulier', 'stop', hosts.service));
  for (const host of Object.values(hosts)) await take(() => cloud('host', 'wipe', host));
}

const isUp = (host: string): boolean => existsSync(join(work, 'ns', host));

async function main(): Promise<void> {
  const up = Object.values(hosts).filter(isUp);
  if (up.length > 0) throw new Error(`the host ${up.join(' and ')} is up already: devstack/cloud host wipe ${up[0]}`);
  const insides = new Map<Kind, Inside>();
  const stopped = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopped.abort());
  const ended = new Promise<never>((_, reject) => { stopped.signal.onabort = () => reject(new Error('stopped')); });
  ended.catch(() => undefined);
  try {
    say('RabbitMQ, the stand-in for Nova, the service');
    await cloud('standalone', 'up');
    if (kinds.includes('bare')) await cloud('host', 'up', hosts.bare);
    await start({ cpu_allocation_ratio: '4096', ram_allocation_ratio: '64', disk_allocation_ratio: '64' });
    for (const kind of kinds) {
      const inside = new Inside(hosts[kind], 'density-host');
      insides.set(kind, inside);
      await inside.tell({ do: 'prepare', kind });
      await inside.tell({ do: 'boot', count: 1, atOnce: 1 }); // the image, and what the programs load
      await inside.tell({ do: 'remove', count: 1, atOnce: 1 });
    }
    if (!(await Promise.race([measure(insides), ended]))) process.exitCode = 1;
  } finally {
    say('taking it all away');
    await clear(insides);
  }
}

try {
  await main();
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
