/** The source data of `schemas/`: what the real classes of three Nova releases say of themselves (contract, companion files). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../src/base/package-root.js';

/** A field of an object. */
export interface SourceField {
  readonly type: string;
  readonly nullable?: boolean;
  readonly default?: unknown;
  /** Known values, in some cases by release. */
  readonly enum?: readonly string[] | Readonly<Record<string, readonly string[]>>;
  readonly read_only?: boolean;
  /** Releases that have it; all if absent. */
  readonly only_in?: readonly string[];
}

/** An object class. */
export interface SourceObject {
  readonly fields: Readonly<Record<string, SourceField>>;
  readonly manifest: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly remotable: Readonly<Record<string, RemoteMethod | { readonly by_release: Readonly<Record<string, RemoteMethod | null>> }>>;
}

/** A method that the conductor runs for others. */
export interface RemoteMethod {
  readonly args: readonly string[];
  readonly kind: 'class' | 'instance';
}

/** The newest form of a remote method, where its entry has one form a release. */
export function newestForm(entry: SourceObject['remotable'][string]): RemoteMethod | undefined {
  if ('kind' in entry) return entry;
  return Object.values(entry.by_release).filter((form) => form !== null).at(-1);
}

/** `source/object-versions.json`. */
export interface ObjectSource {
  readonly releases: readonly string[];
  readonly objects: Readonly<Record<string, SourceObject>>;
  /** Object, release, version; null where the release does not have it. */
  readonly versions: Readonly<Record<string, Readonly<Record<string, string | null>>>>;
}

/** A compute method in one release. */
export interface SourceMethod {
  /** Names; one with `=` has a default. */
  readonly args: readonly string[];
  readonly kind: string;
  readonly call_monitored?: boolean;
  readonly reverts_task_state: boolean;
  readonly instance_action_event: boolean;
  readonly instance_fault: boolean;
  readonly errors_out_migration?: boolean;
}

/** `source/compute-rpc-6.x.json`. */
export interface RpcSource {
  readonly methods: Readonly<Record<string, { readonly min_version: string; readonly by_release?: Readonly<Record<string, SourceMethod>> } & Partial<SourceMethod>>>;
  readonly baseapi: { readonly methods: Readonly<Record<string, readonly string[]>> };
}

function read(name: string): unknown {
  return JSON.parse(readFileSync(join(packageRoot, 'schemas/source', name), 'utf8'));
}

/** Reads `source/object-versions.json`. */
export function objectSource(): ObjectSource {
  return read('object-versions.json') as ObjectSource;
}

/** Reads `source/compute-rpc-6.x.json`. */
export function rpcSource(): RpcSource {
  return read('compute-rpc-6.x.json') as RpcSource;
}
