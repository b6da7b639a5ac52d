/** What a haul tells, as lines for people: one for each stage, each round, and each tenth of the way. */
import { duration, size } from './containers.js';
import { harmlessLine } from '../base/pretty.js';
import type { HaulView } from '../haul/board.js';
import { frozenParts, type FrozenParts, type HaulProgress, type HaulRound } from '../haul/progress.js';

const pageBytes = 4096;

const seconds = (ms: number): string => (ms < 10_000 ? `${(ms / 1000).toFixed(ms < 1000 ? 3 : 1)} s` : duration(ms / 1000));
const rate = (bytes: number, ms: number): string => (bytes > 0 && ms > 0 ? `, ${size((bytes * 1000) / ms)}/s` : '');
const sumOf = ({ memory, disk }: HaulProgress, key: 'total' | 'processed'): number => memory[key] + disk[key];

/** `round 2 of the memory: 1024 pages, 4.0MiB in 0.310 s, 13MiB/s`. */
export function roundLine({ what, round, bytes, ms }: HaulRound): string {
  const pages = what === 'memory' ? `${Math.ceil(bytes / pageBytes)} pages, ` : '';
  return `${round === 0 ? 'frozen,' : `round ${round},`} ${what === 'memory' ? 'memory' : 'file system'}: ${pages}${size(bytes)} in ${seconds(ms)}${rate(bytes, ms)}`;
}

/** ` (freeze 2, ports 3, dump 41 ms ...)`. */
function partsLine(parts: FrozenParts): string {
  const known = frozenParts.flatMap((part) => (parts[part] === undefined ? [] : [`${part} ${parts[part]}`]));
  return known.length === 0 ? '' : ` (${known.join(', ')} ms)`;
}

function endLine({ direction, peer, ms, end }: HaulView): string {
  if (!end) return '';
  if (end.result !== 'done') return `${end.result} after ${seconds(ms)}: ${harmlessLine(end.error ?? '')}`;
  const { account } = end;
  const head = direction === 'out' ? `hauled to ${harmlessLine(peer)} in ${seconds(ms)}` : `came from ${harmlessLine(peer)} in ${seconds(ms)}`;
  return account ? `${head}: ${account.mode} (${harmlessLine(account.reason)}), frozen ${seconds(account.frozenMs)}${partsLine(account.frozenParts)}, ${account.rounds.length} rounds, memory ${size(account.memoryBytes)}, file system ${size(account.diskBytes)}` : head;
}

interface Shown { stage: string; tenth: number; rounds: number; ended: boolean }

/** Remembers what it has shown. */
export class HaulLines {
  readonly #shown = new Map<string, Shown>();

  /** The lines that are new. */
  of(view: HaulView): string[] {
    const key = `${view.haul} ${view.direction} ${view.began}`;
    const shown = this.#shown.get(key) ?? { stage: '', tenth: 0, rounds: 0, ended: false };
    const fresh = !this.#shown.has(key);
    this.#shown.set(key, shown);
    const lines: string[] = [];
    if (fresh) lines.push(view.direction === 'out' ? `on its way to ${harmlessLine(view.peer)} at ${harmlessLine(view.address)}:${view.port}, since ${view.began}` : `coming from ${harmlessLine(view.peer)}, since ${view.began}`);
    for (const round of view.rounds.slice(shown.rounds)) lines.push(roundLine(round));
    shown.rounds = view.rounds.length;
    if (view.progress && !view.end) lines.push(...this.#progress(view.progress, shown));
    if (view.end && !shown.ended) {
      shown.ended = true;
      lines.push(endLine(view));
    }
    return lines.map((line) => `${view.instance.slice(0, 8)}  ${line}`);
  }

  #progress(progress: HaulProgress, shown: Shown): string[] {
    const [all, done] = [sumOf(progress, 'total'), sumOf(progress, 'processed')];
    const tenth = all === 0 ? 0 : Math.floor((10 * done) / all);
    if (progress.stage === shown.stage && tenth <= shown.tenth) return [];
    Object.assign(shown, { stage: progress.stage, tenth });
    const left = progress.expectedMs === undefined ? '' : `, about ${duration(progress.expectedMs / 1000)} left`;
    const asking = progress.stage === 'asking' ? ': it stands frozen here, the other host does not say what became of it' : '';
    return [`${progress.stage}${asking}${all > 0 ? `: ${size(done)} of ${size(all)}${left}` : ''}`];
  }
}
