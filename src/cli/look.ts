/** `haulier ps` and `haulier show`. */
import { columns, displayName, duration, findContainer, lookParts, operationsOf, size, type LookParts } from './containers.js';
import type { Print } from './commands.js';
import type { LoadedConfig } from '../base/config/load.js';
import type { OperationView } from '../base/operation.js';
import { harmlessLine } from '../base/pretty.js';
import type { ContainerSpec, ContainerStats, ContainerView } from '../container/spec.js';
import { readStats } from '../container/stats.js';
import { viewContainer } from '../container/view.js';

interface Seen {
  readonly view: ContainerView;
  readonly spec: ContainerSpec | undefined;
  readonly stats: ContainerStats | undefined;
  readonly operations: readonly OperationView[];
}

async function see(parts: LookParts, id: string, operations: readonly OperationView[]): Promise<Seen> {
  const view = await viewContainer(parts, id);
  return {
    view,
    spec: await parts.store.readSpec(id).catch(() => undefined),
    stats: view.pid === undefined ? undefined : await readStats(parts, id).catch(() => undefined), // it may end meanwhile
    operations: operations.filter(({ instance }) => instance === id),
  };
}

const busyWith = ({ operations }: Seen): string => operations.map(({ name, step, progress }) => `${name}: ${step}${progress === undefined ? '' : ` ${Math.round(progress * 100)} %`}`).join(', ');
const addressesOf = ({ spec }: Seen): string[] => (spec?.vifs ?? []).flatMap(({ addresses }) => addresses.map(({ address }) => address));
const stateOf = ({ state, exitCode }: ContainerView): string => (state === 'crashed' && exitCode !== undefined ? `crashed (${exitCode})` : state);

/** Lists all. */
export async function ps(loaded: LoadedConfig, json: boolean, print: Print): Promise<number> {
  const parts = await lookParts(loaded);
  const operations = await operationsOf(parts.options.runPath);
  const all = await Promise.all((await parts.store.ids()).map((id) => see(parts, id, operations)));
  if (json) {
    print(JSON.stringify(all.map((seen) => summary(seen)), undefined, 1));
    return 0;
  }
  const rows = all.map((seen) => [
    seen.view.id, harmlessLine(displayName(seen.spec)), stateOf(seen.view), seen.stats ? duration(seen.stats.uptimeSeconds) : '-',
    seen.stats ? size(seen.stats.memoryBytes) : '-', addressesOf(seen).join(' ') || '-', busyWith(seen),
  ]);
  for (const line of columns([['ID', 'NAME', 'STATE', 'UP', 'MEMORY', 'ADDRESSES', rows.some((row) => row[6]) ? 'BUSY WITH' : ''], ...rows])) print(line);
  return 0;
}

function summary(seen: Seen): Record<string, unknown> {
  const { view, spec, stats } = seen;
  return { id: view.id, name: view.name, display_name: displayName(spec), state: view.state, pid: view.pid, exit_code: view.exitCode, started_at: view.startedAt, memory_bytes: stats?.memoryBytes, addresses: addressesOf(seen), operations: seen.operations };
}

/** Shows one. */
export async function show(loaded: LoadedConfig, word: string, json: boolean, print: Print): Promise<number> {
  const parts = await lookParts(loaded);
  const id = await findContainer(parts.store, word);
  const seen = await see(parts, id, await operationsOf(parts.options.runPath));
  const { view, spec, stats } = seen;
  const { folder, console, bundle } = parts.store.paths(id);
  const whole = { ...summary(seen), hostname: spec?.hostname, image: spec?.imageId, templates: spec?.templates, labels: spec?.labels, limits: spec?.limits, ports: spec?.vifs, usage: stats, folder, console, bundle };
  if (json) {
    print(JSON.stringify(whole, undefined, 1));
    return 0;
  }
  const limits = spec?.limits;
  const rows: (readonly [string, string | undefined])[] = [
    ['id', id], ['name', displayName(spec)], ['nova name', view.name], ['host name', spec?.hostname], ['state', stateOf(view)], ['busy with', busyWith(seen)],
    ['pid', view.pid?.toString()], ['started', view.startedAt], ['up', stats && duration(stats.uptimeSeconds)],
    ['project', spec?.labels['project_id']], ['user', spec?.labels['user_id']], ['flavor', spec?.labels['flavor']], ['image', spec?.imageId], ['templates', spec?.templates?.join(' ')],
    ['cpus', limits && String(limits.vcpus)], ['cpu time', stats && duration(stats.cpuNs / 1e9)],
    ['memory', limits && `${stats ? `${size(stats.memoryBytes)} of ` : ''}${limits.memoryMiB} MiB`], ['processes', stats && `${stats.pids} of ${limits?.pids ?? '?'}`],
    ['root disk', limits && (limits.rootGiB === 0 ? 'the operator\'s default' : `${limits.rootGiB} GiB`)],
    ...(spec?.vifs ?? []).map((vif) => [vif.guestDevice, `${vif.addresses.map(({ address, prefixLength }) => `${address}/${prefixLength}`).join(' ')} ${vif.mac} port ${vif.id} on ${vif.hostDevice}`] as const),
    ['folder', folder], ['console log', console],
  ];
  for (const line of columns(rows.flatMap(([name, value]) => (value ? [[name, harmlessLine(value)]] : [])))) print(line);
  return 0;
}
