/** What a checkpoint was made with, and whether a host can take it back. */
import { statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { arch } from 'node:os';
import { messageOf } from '../../base/errors.js';
import { findCommand, run } from '../../base/run.js';
import type { ContainerHostOptions } from '../container-host.js';
import { runtimeEnvironment } from '../runtime/runc.js';
import { atLeast } from '../version.js';

/** Versions and abilities that a restore depends on. */
export interface HostFacts {
  readonly criu: string;
  readonly runc: string;
  readonly kernel: string;
  readonly architecture: string;
  readonly cpuModel: string;
  readonly cpuFlags: readonly string[];
}

const timeoutMs = 20_000;
const known = new Map<string, Promise<{ readonly criu: string; readonly runc: string }>>();

async function version(command: string, env?: NodeJS.ProcessEnv): Promise<string> {
  const { stdout } = await run(command, ['--version'], { timeoutMs, ...(env ? { env } : {}) });
  return /\d+(?:\.\d+)+\S*/.exec(stdout)?.[0] ?? '';
}

/** Another one for each build of a command: it may be upgraded under a running service. */
function buildOf(command: string): string {
  try {
    const { ino, mtimeMs } = statSync(findCommand(command));
    return `${command} ${ino} ${mtimeMs}`;
  } catch {
    return command; // whoever runs it is told
  }
}

/** Asked once for each pair of commands: they cost 30 ms. @throws COMMAND_FAILED where one is missing; asked again then */
function versions(options: Pick<ContainerHostOptions, 'criu' | 'runc'>): Promise<{ readonly criu: string; readonly runc: string }> {
  const key = [options.criu, options.runc].map(buildOf).join(' ');
  const asked = known.get(key) ?? Promise.all([version(options.criu, runtimeEnvironment(options.criu)), version(options.runc)]).then(([criu, runc]) => ({ criu, runc }));
  known.set(key, asked);
  asked.catch(() => known.delete(key));
  return asked;
}

/** One value of `/proc/cpuinfo`, of its first processor. */
function cpuValue(cpuinfo: string, ...names: readonly string[]): string {
  for (const name of names) {
    const match = new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(cpuinfo);
    if (match?.[1]) return match[1].trim();
  }
  return '';
}

/** Reads those of this host. @throws COMMAND_FAILED if criu or runc cannot be run */
export async function readHostFacts(options: Pick<ContainerHostOptions, 'criu' | 'runc'>): Promise<HostFacts> {
  const [{ criu, runc }, kernel, cpuinfo] = await Promise.all([versions(options), readFile('/proc/sys/kernel/osrelease', 'utf8'), readFile('/proc/cpuinfo', 'utf8')]);
  return {
    criu, runc, kernel: kernel.trim(), architecture: arch(),
    cpuModel: cpuValue(cpuinfo, 'model name', 'Processor'),
    cpuFlags: cpuValue(cpuinfo, 'flags', 'Features').split(' ').filter(Boolean),
  };
}

/** criu before 4.2 asks a kernel from 6.16 on for an option that TCP sockets have no more, and gives every dump with a connection up. */
const tcpOfNewKernels = { criu: '4.2', kernel: '6.16' };

/** Why this criu is of no use on this kernel, in plain words with what to do; undefined if it is fit. */
export function unfitCriu(criu: string, kernel: string): string | undefined {
  if (!atLeast(kernel, tcpOfNewKernels.kernel) || atLeast(criu, tcpOfNewKernels.criu)) return undefined;
  return `criu ${criu} is too old: on kernel ${kernel} it cannot save TCP connections; install criu ${tcpOfNewKernels.criu} or newer`;
}

/** Why criu cannot work on this host whatever the container, in plain words; undefined if it can. */
export async function criuProblem(options: Pick<ContainerHostOptions, 'criu' | 'runc'>): Promise<string | undefined> {
  try {
    const { criu, kernel } = await readHostFacts(options);
    return unfitCriu(criu, kernel);
  } catch (error) {
    return `criu cannot be run: ${messageOf(error)}`;
  }
}

/** Flags that programs find out once and then rely on: the instruction sets. Others come and go with a kernel's options. */
const instructionSet = /^(sse|ssse|avx|amx|bmi|fma|f16c|aes|vaes|pclmul|vpclmul|sha|gfni|movbe|popcnt|rdrand|rdseed|adx|lzcnt|abm|tbm|xop|fsgsbase|xsave|cmov|cx16|lahf_lm|asimd|sve|sme|crc32|atomics|pmull|bf16|i8mm|rtm|hle|pku|rdpid|rdtscp|movdir|serialize|clwb|clflushopt)/;

/** Why processes that ran on the host `made` cannot go on here, in plain words; empty if they can. */
export function misfits(made: HostFacts, here: HostFacts): string[] {
  if (made.architecture !== here.architecture) return [`it was made on ${made.architecture}, this host is ${here.architecture}`];
  if (!atLeast(here.criu, made.criu)) return [`it was made by criu ${made.criu}, this host has ${here.criu}`];
  const have = new Set(here.cpuFlags);
  const lacking = made.cpuFlags.filter((flag) => instructionSet.test(flag) && !have.has(flag));
  return lacking.length === 0 ? [] : [`this CPU (${here.cpuModel}) lacks ${lacking.join(', ')}, which the one that it was made on (${made.cpuModel}) has`];
}
