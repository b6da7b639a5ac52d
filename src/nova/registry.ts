/** Which objects exist in which release, in which version, and what they reach: `schemas/registry.json` (contract B.4). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { HaulierError } from '../base/errors.js';
import { packageRoot } from '../base/package-root.js';
import type { Release } from './types.js';

/** Object name to version: what the caller of a class method understands. */
export type Manifest = Readonly<Record<string, string>>;

interface Entry {
  readonly versions: Readonly<Record<Release, string | null>>;
  readonly uses?: readonly string[];
  /** Fields that only some releases have. */
  readonly onlyIn?: Readonly<Record<string, readonly Release[]>>;
  /** Class methods with their arguments as Python writes them. */
  readonly class?: Readonly<Record<string, string>>;
  /** Instance methods likewise. */
  readonly instance?: Readonly<Record<string, string>>;
}

let loaded: ReadonlyMap<string, Entry> | undefined;

function entries(): ReadonlyMap<string, Entry> {
  loaded ??= new Map(Object.entries((JSON.parse(readFileSync(join(packageRoot, 'schemas/registry.json'), 'utf8')) as { objects: Record<string, Entry> }).objects));
  return loaded;
}

function entry(name: string): Entry {
  const found = entries().get(name);
  if (!found) throw new HaulierError('UNSUPPORTED', { what: `object ${name}` });
  return found;
}

/** Names of all registered objects. */
export function objectNames(): string[] {
  return [...entries().keys()];
}

/**
 * Version of `name` in `release`.
 * @throws UNSUPPORTED if the release does not have it
 */
export function objectVersion(name: string, release: Release): string {
  const version = entry(name).versions[release];
  if (version === null) throw new HaulierError('UNSUPPORTED', { what: `object ${name} on ${release}` });
  return version;
}

const manifests = new Map<string, Manifest>();

/**
 * Versions of `name` and of every object reachable from it, as `obj_tree_get_versions` gives them.
 * @throws UNSUPPORTED if the release does not have `name`
 */
export function manifest(name: string, release: Release): Manifest {
  const key = `${release} ${name}`;
  const known = manifests.get(key);
  if (known) return known;
  const versions: Record<string, string> = { [name]: objectVersion(name, release) };
  const visit = (of: string): void => {
    for (const used of entries().get(of)?.uses ?? []) {
      const version = entries().get(used)?.versions[release] ?? null;
      if (version === null || used in versions) continue;
      versions[used] = version;
      visit(used);
    }
  };
  visit(name);
  manifests.set(key, versions);
  return versions;
}

/** True if `release` has `field` of `name`. Unknown fields are taken to be there. */
export function hasField(name: string, field: string, release: Release): boolean {
  return entry(name).onlyIn?.[field]?.includes(release) ?? true;
}

/** True if `method` of `name` can be called at the conductor, as a class or as an instance method. */
export function isRemotable(name: string, method: string, kind: 'class' | 'instance'): boolean {
  return method in (entry(name)[kind] ?? {});
}

/** The release whose objects a control plane of service version `version` understands: the nearest older of the three (B.4). */
export function releaseOf(version: number): Release {
  if (version >= 73) return '2026.2';
  return version >= 68 ? '2025.1' : 'zed';
}
