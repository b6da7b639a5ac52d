/** The configuration of a container image: what it runs, and which layers it is made of (OCI image-spec, config.md; Docker's is the same). */
import { parseApplication, type ApplicationConfig } from '../../application/config.js';
import { unacceptable } from '../image-error.js';
import { digestPattern, fieldsOf } from './fields.js';

/** What counts of it. */
export interface ContainerImageConfig {
  /** sha256 of each layer's uncompressed tar archive, the lowest first. */
  readonly diffIds: readonly string[];
  /** Undefined: it names no program, so it is a system with an init of its own. */
  readonly application: ApplicationConfig | undefined;
}

/** Docker's limit too: overlayfs and old storage drivers take no more. */
const maxLayers = 127;

/** Node's names of architectures in Go's words. */
const goArchitectures: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64', arm: 'arm', ia32: '386', ppc64: 'ppc64le', s390x: 's390x', riscv64: 'riscv64' };

/** This machine, as images call it. */
export const machine = (arch: string): string => goArchitectures[arch] ?? arch;

/** A command is a list of words; Docker's oldest images have one line for a shell. */
function words(value: unknown): unknown[] {
  if (value === undefined || value === null || value === '') return [];
  return Array.isArray(value) ? value : typeof value === 'string' ? ['/bin/sh', '-c', value] : [value];
}

/** @throws IMAGE_UNACCEPTABLE */
export function parseConfig(image: string, value: unknown, arch: string): ContainerImageConfig {
  const refuse = (what: string): Error => unacceptable(image, `its configuration ${what}`);
  const fields = fieldsOf(value);
  if (!fields) throw refuse('is no JSON object');
  const { os, architecture } = fields;
  if (os !== 'linux') throw refuse(`is for the system ${JSON.stringify(os)?.slice(0, 40)}, not for linux`);
  if (architecture !== machine(arch)) throw refuse(`is for the architecture ${JSON.stringify(architecture)?.slice(0, 40)}, and this host is ${machine(arch)}`);
  const diffIds = fieldsOf(fields['rootfs'])?.['diff_ids'];
  if (!Array.isArray(diffIds) || !diffIds.every((id): id is string => typeof id === 'string' && digestPattern.test(id))) throw refuse('has no list of layers (rootfs.diff_ids)');
  if (diffIds.length === 0 || diffIds.length > maxLayers) throw refuse(`has ${diffIds.length} layers; 1 to ${maxLayers} are possible`);
  const run = fieldsOf(fields['config']) ?? {};
  const args = [...words(run['Entrypoint']), ...words(run['Cmd'])];
  if (args.length === 0) return { diffIds, application: undefined };
  const text = (name: string): unknown => (run[name] === '' || run[name] === null ? undefined : run[name]);
  try {
    return { diffIds, application: parseApplication({ args, env: run['Env'] ?? undefined, user: text('User'), cwd: text('WorkingDir'), stopSignal: text('StopSignal') }) };
  } catch (error) {
    throw refuse((error as Error).message);
  }
}
