/** The command-line options that every OpenStack service has (oslo_config/cfg.py, oslo_log `_options.py`), so that nova-compute's unit files work. */
import type { ConfigSource } from './locate.js';
import type { ConfigOverrides } from './load.js';

/** The command line, sorted. */
export interface ConfigArguments {
  readonly sources: readonly ConfigSource[];
  readonly overrides: ConfigOverrides;
  /** What is not for the configuration, in order. */
  readonly rest: readonly string[];
}

type LogOption = 'debug' | 'log_file' | 'log_dir' | 'use_json' | 'use_stderr';

const flags: Readonly<Record<string, readonly [LogOption, string]>> = {
  '--debug': ['debug', 'true'],
  '-d': ['debug', 'true'],
  '--nodebug': ['debug', 'false'],
  '--use-json': ['use_json', 'true'],
  '--nouse-json': ['use_json', 'false'],
  '--use-stderr': ['use_stderr', 'true'],
  '--nouse-stderr': ['use_stderr', 'false'],
};
const valued: Readonly<Record<string, 'file' | 'dir' | LogOption>> = {
  '--config-file': 'file',
  '--config-dir': 'dir',
  '--log-file': 'log_file',
  '--logfile': 'log_file',
  '--log-dir': 'log_dir',
  '--logdir': 'log_dir',
};

/**
 * Takes the configuration's options out of `argv` (without node and script): `--config-file PATH`, `--config-dir PATH`,
 * `--log-file`, `--log-dir`, each also with `=`, and the switches of the log. Stops at `--`.
 * @param foreign true as soon as what follows the words so far is not ours to read
 * @throws RangeError an option without its value
 */
export function readArguments(argv: readonly string[], foreign: (words: readonly string[]) => boolean = () => false): ConfigArguments {
  const sources: ConfigSource[] = [];
  const log: { [name in LogOption]?: string } = {};
  const rest: string[] = [];
  for (let at = 0; at < argv.length; at += 1) {
    const word = argv[at]!;
    if (word === '--' || foreign(rest)) {
      rest.push(...argv.slice(at));
      break;
    }
    const equals = word.indexOf('=');
    const name = equals < 0 ? word : word.slice(0, equals);
    const flag = Object.hasOwn(flags, word) ? flags[word] : undefined;
    const kind = Object.hasOwn(valued, name) ? valued[name] : undefined;
    if (flag) log[flag[0]] = flag[1];
    else if (!kind) rest.push(word);
    else {
      const value = equals < 0 ? argv[(at += 1)] : word.slice(equals + 1);
      if (value === undefined || value === '') throw new RangeError(`${name} needs a value`);
      if (kind === 'file' || kind === 'dir') sources.push(kind === 'file' ? { file: value } : { dir: value });
      else log[kind] = value;
    }
  }
  return { sources, overrides: { DEFAULT: log }, rest };
}
