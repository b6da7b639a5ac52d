/** `haulier top`. */
import { setTimeout as sleep } from 'node:timers/promises';
import { columns, displayName, lookParts, size, type LookParts } from './containers.js';
import type { LoadedConfig } from '../base/config/load.js';
import { harmlessLine } from '../base/pretty.js';
import type { ContainerStats } from '../container/spec.js';
import { readStats } from '../container/stats.js';

const intervalMs = 1000;

interface Sample {
  readonly at: number;
  readonly stats: ReadonlyMap<string, ContainerStats>;
}

async function sample(parts: LookParts): Promise<Sample> {
  const all = await Promise.all((await parts.store.ids()).map(async (id) => [id, await readStats(parts, id).catch(() => undefined)] as const));
  return { at: performance.now(), stats: new Map(all.flatMap(([id, stats]) => (stats ? [[id, stats] as const] : []))) };
}

/** The table between two samples; percent of one CPU. */
export function topRows(before: Sample, now: Sample, names: ReadonlyMap<string, string>): string[][] {
  const seconds = Math.max(1e-3, (now.at - before.at) / 1000);
  const rows = [...now.stats].flatMap(([id, stats]) => {
    const old = before.stats.get(id);
    if (!old) return [];
    const per = (value: number, earlier: number): number => Math.max(0, value - earlier) / seconds;
    const network = (of: ContainerStats, key: 'rxBytes' | 'txBytes'): number => of.nics.reduce((sum, nic) => sum + nic[key], 0);
    const cpu = per(stats.cpuNs, old.cpuNs) / 1e7;
    return [{ cpu, cells: [
      id, names.get(id) ?? '', cpu.toFixed(1), `${size(stats.memoryBytes)}/${stats.memoryLimitBytes > 0 ? size(stats.memoryLimitBytes) : '-'}`, String(stats.pids),
      `${size(per(stats.disk.readBytes, old.disk.readBytes))}/s`, `${size(per(stats.disk.writeBytes, old.disk.writeBytes))}/s`,
      `${size(per(network(stats, 'rxBytes'), network(old, 'rxBytes')))}/s`, `${size(per(network(stats, 'txBytes'), network(old, 'txBytes')))}/s`,
    ] }];
  });
  return [['ID', 'NAME', 'CPU%', 'MEMORY', 'PROCESSES', 'READ', 'WRITTEN', 'RECEIVED', 'SENT'], ...rows.sort((a, b) => b.cpu - a.cpu).map(({ cells }) => cells)];
}

/** Shows it once, or on a terminal until it is interrupted. */
export async function top(loaded: LoadedConfig, once: boolean): Promise<number> {
  const parts = await lookParts(loaded);
  const live = process.stdout.isTTY && !once;
  for (let before = await sample(parts); ;) {
    await sleep(intervalMs);
    const now = await sample(parts);
    const names = new Map(await Promise.all([...now.stats.keys()].map(async (id) => [id, harmlessLine(displayName(await parts.store.readSpec(id).catch(() => undefined)))] as const)));
    const lines = columns(topRows(before, now, names));
    const rows = process.stdout.rows || 25;
    process.stdout.write(live ? `\x1b[H\x1b[J${lines.slice(0, rows - 1).map((line) => line.slice(0, process.stdout.columns || 80)).join('\n')}\n` : `${lines.join('\n')}\n`);
    if (!live) return 0;
    before = now;
  }
}
