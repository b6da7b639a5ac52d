/** Where configuration files are looked for, and in which order they count (oslo_config/cfg.py find_config_files, find_config_dirs, _parse_config_files). */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import type { ConfigProblem } from './problems.js';

/** A `--config-file` or a `--config-dir`, in the order of the command line: a later one wins, whichever kind it is. */
export type ConfigSource = { readonly file: string } | { readonly dir: string };

/** The environment as far as it matters; tests give their own. */
export interface Surroundings {
  readonly home: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Put before `/etc`, for tests. */
  readonly root: string;
}

const here = (): Surroundings => ({ home: homedir(), env: process.env, root: '' });

function find(extension: string, { home, env, root }: Surroundings): string[] {
  const snaps = [env.SNAP_COMMON, env.SNAP].filter((snap) => snap !== undefined && snap !== '');
  const folders = [join(home, '.nova'), home, `${root}/etc/nova`, `${root}/etc`, ...snaps.map((snap) => join(snap!, 'etc', 'nova'))];
  return ['nova', 'nova-compute'].flatMap((name) => folders.map((folder) => join(folder, name + extension)).find((path) => existsSync(path)) ?? []);
}

/** `nova.conf` and `nova-compute.conf`, each from the first of ~/.nova, ~, /etc/nova, /etc and the snap's folders that has it. */
export const findConfigFiles = (surroundings: Surroundings = here()): string[] => find('.conf', surroundings);
/** `nova.conf.d` and `nova-compute.conf.d` from the same folders. */
export const findConfigDirs = (surroundings: Surroundings = here()): string[] => find('.conf.d', surroundings);

/** `~` and relative paths made absolute. */
export function absolute(path: string, home = homedir()): string {
  return resolve(path === '~' || path.startsWith('~/') ? join(home, path.slice(1)) : path);
}

/** Python's sort: by code point, unlike JavaScript's by UTF-16 unit or a locale's. */
const byCodePoint = (left: string, right: string): number => Buffer.compare(Buffer.from(left), Buffer.from(right));

/** The files to read, in order. */
export interface Located {
  readonly paths: readonly string[];
  /** Directories that were named but are not there. */
  readonly problems: readonly ConfigProblem[];
}

/**
 * Expands the sources to files. The default files are read unless a `--config-file` was given, and the default directories
 * unless a `--config-dir` was given: both before what was given. Of a directory: its `*.conf`, sorted.
 */
export async function locate(sources: readonly ConfigSource[], surroundings: Surroundings = here()): Promise<Located> {
  const defaults: ConfigSource[] = [];
  if (!sources.some((source) => 'file' in source)) defaults.push(...findConfigFiles(surroundings).map((file) => ({ file })));
  if (!sources.some((source) => 'dir' in source)) defaults.push(...findConfigDirs(surroundings).map((dir) => ({ dir })));
  const paths: string[] = [];
  const problems: ConfigProblem[] = [];
  for (const source of [...defaults, ...sources]) {
    if ('file' in source) {
      paths.push(absolute(source.file, surroundings.home));
      continue;
    }
    const dir = absolute(source.dir, surroundings.home);
    try {
      // glob's *.conf does not match a leading dot
      const names = (await readdir(dir)).filter((name) => name.endsWith('.conf') && !name.startsWith('.'));
      paths.push(...names.sort(byCodePoint).map((name) => join(dir, name)));
    } catch (error) {
      problems.push({ where: dir, section: '-', option: '-', problem: `cannot be read as a directory: ${(error as NodeJS.ErrnoException).code}` });
    }
  }
  return { paths, problems };
}
