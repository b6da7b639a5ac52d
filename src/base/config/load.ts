/** Loading the configuration: the door of this folder. */
import { readFile } from 'node:fs/promises';
import { createSocket } from 'node:dgram';
import { hostname } from 'node:os';
import { checkTogether } from './checks.js';
import { locate, type ConfigSource, type Surroundings } from './locate.js';
import type { HostFacts } from './option.js';
import { parseIni, type ParsedFile } from './parse.js';
import { configInvalid, type ConfigProblem } from './problems.js';
import { resolve, type Overrides, type Setting } from './resolve.js';
import { table, type Config } from './table.js';

export type { Config } from './table.js';
export type { ConfigSource } from './locate.js';

/** A loaded configuration. */
export interface LoadedConfig {
  /** Typed, frozen: `config.DEFAULT.host`. */
  readonly config: Config;
  /** Every option with its origin, for `showConfig`. */
  readonly settings: readonly Setting[];
  /** Files read, in order; also where `compute_id` is looked for (contract D.4). */
  readonly files: readonly string[];
  /** Deprecated names and ignored sections, for the log. */
  readonly warnings: readonly string[];
}

/** Text values by section and option; they win over all files. */
export type ConfigOverrides = Overrides<typeof table>;

/** What to load. */
export interface LoadRequest {
  /** `--config-file` and `--config-dir` in the order of the command line. Default: none, so oslo's default places. */
  readonly sources?: readonly ConfigSource[];
  readonly overrides?: ConfigOverrides;
  /** For tests. */
  readonly surroundings?: Surroundings;
  readonly facts?: HostFacts;
}

/**
 * Reads the files and makes the configuration.
 * @throws CONFIG_INVALID all that is wrong, in one error (`configInvalid`)
 */
export async function loadConfig(request: LoadRequest = {}): Promise<LoadedConfig> {
  const located = await locate(request.sources ?? [], request.surroundings);
  const problems: ConfigProblem[] = [...located.problems];
  const files: ParsedFile[] = [];
  for (const path of located.paths) {
    const text = await readText(path, problems);
    if (text === undefined) continue;
    const parsed = parseIni(text, path);
    files.push(parsed.file);
    problems.push(...parsed.problems);
  }
  return build(files, problems, request.overrides ?? {}, request.facts ?? (await hostFacts()));
}

/**
 * A configuration without files: defaults and `overrides`. For tests and tools.
 * @throws CONFIG_INVALID
 */
export function defaultConfig(overrides: ConfigOverrides = {}, facts: HostFacts = { hostName: hostname(), address: '127.0.0.1' }): Config {
  return build([], [], overrides, facts).config;
}

function build(files: readonly ParsedFile[], before: readonly ConfigProblem[], overrides: ConfigOverrides, facts: HostFacts): LoadedConfig {
  const { values, settings, problems, warnings } = resolve({ table, files, overrides, facts });
  const all = [...before, ...problems];
  // a rule over values that are wrong themselves would only confuse
  if (all.length === 0) all.push(...checkTogether(values, settings));
  if (all.length > 0) throw configInvalid(all);
  return { config: values, settings, files: files.map((file) => file.path), warnings };
}

async function readText(path: string, problems: ConfigProblem[]): Promise<string | undefined> {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(await readFile(path));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const why = code === 'ERR_ENCODING_INVALID_ENCODED_DATA' ? 'it is not UTF-8' : code;
    problems.push({ where: path, section: '-', option: '-', problem: `cannot be read: ${why}` });
    return undefined;
  }
}

/** This host's name and address, the latter as oslo_utils.netutils.get_my_ipv4 finds it: by the route to a foreign address, nothing is sent. */
export async function hostFacts(): Promise<HostFacts> {
  return { hostName: hostname(), address: await routedAddress().catch(() => '127.0.0.1') };
}

function routedAddress(): Promise<string> {
  const socket = createSocket('udp4');
  return new Promise<string>((found, failed) => {
    socket.once('error', failed);
    socket.connect(80, '8.8.8.8', () => found(socket.address().address));
  }).finally(() => socket.close());
}
