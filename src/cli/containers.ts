/** How commands look at the containers of this host: through its files, so that it works beside the service and without it. */
import { containerOptions } from './wiring.js';
import type { LoadedConfig } from '../base/config/load.js';
import { HaulierError } from '../base/errors.js';
import { createLog } from '../base/log.js';
import type { OperationView } from '../base/operation.js';
import { readCgroupLayout } from '../container/cgroup.js';
import type { HostParts } from '../container/parts.js';
import type { ContainerSpec } from '../container/spec.js';
import { InstanceStore } from '../container/state.js';
import { callService } from '../http/control.js';

/** What a look needs. */
export type LookParts = Pick<HostParts, 'options' | 'store' | 'cgroups' | 'log'>;

/** Makes it. */
export async function lookParts(loaded: LoadedConfig): Promise<LookParts> {
  const options = containerOptions(loaded.config);
  return { options, store: new InstanceStore(options.instancesPath, options.runPath, options.host), cgroups: await readCgroupLayout(), log: createLog({ level: loaded.config.DEFAULT.debug ? 'debug' : 'error' }) };
}

/** A server's name as its user knows it. */
export function displayName(spec: Pick<ContainerSpec, 'name' | 'labels'> | undefined): string {
  return spec?.labels['display_name'] || (spec?.name ?? '');
}

/**
 * The container that a word means: an id, else a name (the user's, Nova's, the host name), else the beginning of an id.
 * @throws INSTANCE_NOT_FOUND, BAD_ARGUMENT if it fits several
 */
export async function findContainer(store: InstanceStore, word: string): Promise<string> {
  const ids = await store.ids();
  if (ids.includes(word)) return word;
  const named: string[] = [];
  for (const id of ids) {
    const spec = await store.readSpec(id).catch(() => undefined); // a damaged one has no name
    if (spec && [spec.name, spec.hostname, spec.labels['display_name']].includes(word)) named.push(id);
  }
  const found = named.length > 0 || word === '' ? named : ids.filter((id) => id.startsWith(word.toLowerCase()));
  if (found.length > 1) throw new HaulierError('BAD_ARGUMENT', { method: 'haulier', argument: word, problem: `means ${found.length} containers: ${found.join(', ')}` });
  if (!found[0]) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: word });
  return found[0];
}

const answerMs = 3000;

/**
 * What the service works on now; nothing if it does not run, or does not answer (stopped, or blocked by its disk).
 * @param tell told why there is nothing
 * @param patienceMs most that is waited for its answer
 */
export async function operationsOf(runPath: string, tell: (line: string) => void = (line) => void process.stderr.write(`${line}\n`), patienceMs = answerMs): Promise<readonly OperationView[]> {
  try {
    return (await callService(runPath, 'operations', {}, AbortSignal.timeout(patienceMs))) as OperationView[];
  } catch (error) {
    if (error instanceof Error && error.name === 'TimeoutError') tell(`haulier: the service has not answered within ${patienceMs / 1000} s: what it works on is not shown`);
    return []; // the containers are there without it
  }
}

/** Rows as columns of the width that they need. The first row is the head. */
export function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, at) => Math.max(...rows.map((row) => (row[at] ?? '').length)));
  return rows.map((row) => row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join('  ').trimEnd());
}

/** `3d4h`, `5h12m`, `7m3s`, `9s`. */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m${s % 60}s`;
  if (s < 86_400) return `${Math.floor(s / 3600)}h${Math.floor((s % 3600) / 60)}m`;
  return `${Math.floor(s / 86_400)}d${Math.floor((s % 86_400) / 3600)}h`;
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** `512B`, `3.4MiB`. */
export function size(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit++; }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)}${units[unit]}`;
}
