#!/usr/bin/env node
/** The command: `haulier [--config-file F]...` runs the service; `haulier config` and `haulier check` look. */
import { setFlagsFromString } from 'node:v8';
import { readArguments } from './base/config/arguments.js';
import { loadConfig } from './base/config/load.js';
import { templateRequest } from './cli/template-request.js';
import { showConfig } from './base/config/show.js';
import { isHaulierError, messageOf } from './base/errors.js';
import { packageVersion } from './base/package-root.js';

// compiling the schemas would let the young generation grow for good: 13 MB that an idle host never needs again
setFlagsFromString('--semi-space-growth-factor=1');

const usage = `usage: haulier [COMMAND] [--config-file FILE]... [--config-dir DIR]... [--debug]

commands:
  serve    run the compute service (the default)
  config   print the effective configuration, secrets hidden
  check    say what this host and its control plane lack
  can-freeze ID          say whether a container could be suspended now, and what stands in the way
  template mark ID       note what a container's tree is now
  template capture ID NAME [--output FILE] [--keep PATH]...
                         save what has changed in it since as a template (docs/templates.md)
  snapshot-key           make a key for snapshots with memory, in front of those in the file that snapshot_key of [haulier] names
  host freeze | thaw     suspend every container of this host, or resume those; the service must be stopped
`;

/** What is wrong with a command and its arguments; undefined if nothing. */
function wrongArgument(command: string, extra: readonly string[]): string | undefined {
  if (command === 'can-freeze') return extra.length === 1 ? undefined : 'can-freeze takes one container id';
  if (command === 'template') return typeof templateRequest(extra) === 'string' ? String(templateRequest(extra)) : undefined;
  if (command === 'host') return extra.length === 1 && (extra[0] === 'freeze' || extra[0] === 'thaw') ? undefined : 'host takes one word: freeze or thaw';
  if (!['serve', 'config', 'check', 'snapshot-key'].includes(command)) return `unknown argument ${command}`;
  return extra.length > 0 ? `unknown argument ${extra[0]}` : undefined;
}

async function main(argv: readonly string[]): Promise<number> {
  const { sources, overrides, rest } = readArguments(argv);
  const [command = 'serve', ...extra] = rest;
  if (rest.includes('--help') || rest.includes('-h') || command === 'help') {
    process.stdout.write(usage);
    return 0;
  }
  if (command === '--version') {
    process.stdout.write(`haulier ${packageVersion}\n`);
    return 0;
  }
  const wrong = wrongArgument(command, extra);
  if (wrong !== undefined) {
    process.stderr.write(`haulier: ${wrong}\n${usage}`);
    return 2;
  }
  const loaded = await loadConfig({ sources, overrides });
  if (command === 'config') {
    process.stdout.write(showConfig(loaded.settings));
    return 0;
  }
  if (command === 'check') return (await import('./cli/check.js')).check(loaded, (line) => process.stdout.write(`${line}\n`));
  const print = (line: string): void => void process.stdout.write(`${line}\n`);
  if (command === 'can-freeze') return (await import('./cli/freeze.js')).canFreeze(loaded, extra[0] as string, print);
  const template = command === 'template' ? templateRequest(extra) : undefined;
  if (typeof template === 'object') return (await import('./cli/template.js')).templateCommand(loaded, template, print);
  if (command === 'snapshot-key') return (await import('./cli/snapshot-key.js')).makeSnapshotKey(loaded, print);
  if (command === 'host') return (await import('./cli/freeze.js')).hostCommand(loaded, extra[0] as 'freeze' | 'thaw', print);
  return (await import('./cli/serve.js')).serve(loaded);
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error: unknown) => {
    const advice = isHaulierError(error) ? `\n${error.advice}` : '';
    process.stderr.write(`haulier: ${messageOf(error)}${advice}\n`);
    process.exit(1);
  },
);
