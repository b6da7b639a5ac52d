/** What was changed in a tree since it was marked, as a template's layer has it. */
import { opaqueName, whiteoutPrefix } from '../image/whiteouts.js';
import type { TreeList } from './tree-list.js';

/** A layer's content. */
export interface Difference {
  /** To be archived, folders before what is in them. */
  readonly paths: readonly string[];
  /** Whiteouts: names of empty files as OCI's layers have them. */
  readonly whiteouts: readonly string[];
  readonly changed: number;
  readonly removed: number;
}

/** What is of this one machine or of this one moment, and never in a layer unless it is asked for. A slash at the end: what is in that folder. */
export const leftOut: readonly string[] = [
  'dev/', 'proc/', 'sys/', 'run/', 'tmp/', 'var/tmp/', 'var/cache/apt/', 'var/lib/apt/lists/', 'etc/machine-id', 'var/lib/dbus/machine-id',
  'etc/hostname', 'etc/hosts', 'etc/resolv.conf', 'etc/ssh/ssh_host_', 'root/.bash_history', 'root/.ash_history', 'config-drive', 'var/lib/haulier',
];
/** Of logs only the folders are kept: programs count on their owner and mode. */
const logs = 'var/log/';

/** Types that an archive can hold. */
const archived = new Set(['f', 'd', 'l', 'p']);

const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));

/**
 * Compares. Pure.
 * @param keep beginnings of paths (without a slash at the front) that are not left out
 */
export function difference(before: TreeList, after: TreeList, keep: readonly string[]): Difference {
  const isLeftOut = (path: string): boolean => {
    if (keep.some((kept) => path === kept || path.startsWith(kept.endsWith('/') ? kept : `${kept}/`) || (!kept.endsWith('/') && path.startsWith(kept)))) return false;
    if (path.startsWith(logs)) return after.get(path)?.type !== 'd';
    return leftOut.some((out) => path.startsWith(out));
  };
  const changed = [...after].filter(([path, { type, look }]) => path !== '' && archived.has(type) && before.get(path)?.look !== look && !isLeftOut(path)).map(([path]) => path);
  const gone = [...before.keys()].filter((path) => !after.has(path) && !isLeftOut(path));
  const removed = gone.filter((path) => after.get(parentOf(path))?.type === 'd'); // the rest went with its folder
  const children = new Map<string, { all: number; gone: number }>();
  for (const path of before.keys()) {
    if (path === '') continue;
    const count = children.get(parentOf(path)) ?? { all: 0, gone: 0 };
    children.set(parentOf(path), { all: count.all + 1, gone: count.gone + (after.has(path) ? 0 : 1) });
  }
  // a folder of which nothing is left was emptied or made anew: it hides whatever is below
  const emptied = new Set(removed.map(parentOf).filter((path) => path !== '' && children.get(path)?.all === children.get(path)?.gone && !isLeftOut(`${path}/`)));
  const whiteouts = [
    ...[...emptied].map((path) => `${path}/${opaqueName}`),
    ...removed.filter((path) => !emptied.has(parentOf(path))).map((path) => `${parentOf(path) === '' ? '' : `${parentOf(path)}/`}${whiteoutPrefix}${path.slice(path.lastIndexOf('/') + 1)}`),
  ];
  const paths = new Set(changed);
  // the uppermost layer's folder tells owner and mode, so none may be made by the way
  for (const path of [...changed, ...whiteouts]) for (let folder = parentOf(path); folder !== ''; folder = parentOf(folder)) paths.add(folder);
  return { paths: [...paths].sort(), whiteouts: whiteouts.sort(), changed: changed.length, removed: gone.length };
}
