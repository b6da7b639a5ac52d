#!/usr/bin/env node
/** The command: `haulier [--config-file F]...` runs the service; its other commands look at the host and manage its containers. */
import { setFlagsFromString } from 'node:v8';
import { readArguments } from './base/config/arguments.js';
import { loadConfig } from './base/config/load.js';
import { isHaulierError, messageOf } from './base/errors.js';
import { packageVersion } from './base/package-root.js';
import { harmless } from './base/pretty.js';
import { commands, isForeign, usage } from './cli/commands.js';

// compiling the schemas would let the young generation grow for good: 13 MB that an idle host never needs again
setFlagsFromString('--semi-space-growth-factor=1');
// what runs a few times at the start would be optimised, on other threads, whose memory never comes back: 8 MB; loops still are, some
// milliseconds later. Later Nodes' V8 does not know the flag, and would say so on every command's stderr
if (process.versions.node.startsWith('20.')) setFlagsFromString('--interrupt-budget=1000000');

async function main(argv: readonly string[]): Promise<number> {
  const { sources, overrides, rest } = readArguments(argv, isForeign);
  const [name = 'serve', ...words] = rest;
  if (name === 'help' || name === '--help' || name === '-h' || (name !== 'exec' && words.some((word) => word === '--help' || word === '-h'))) {
    process.stdout.write(usage());
    return 0;
  }
  if (name === '--version') {
    process.stdout.write(`haulier ${packageVersion}\n`);
    return 0;
  }
  const run = commands.find((command) => command.name === name)?.parse(words) ?? `unknown argument ${name}`;
  if (typeof run === 'string') {
    process.stderr.write(`haulier: ${run}\n${usage()}`);
    return 2;
  }
  if (name !== 'serve') process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1)); // `haulier ps | head`
  return await run(await loadConfig({ sources, overrides }), (line) => void process.stdout.write(`${harmless(line)}\n`));
}

// nothing ends because what it says cannot be written
process.stdout.on('error', () => undefined);
process.stderr.on('error', () => undefined);
main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error: unknown) => {
    const advice = isHaulierError(error) ? `\n${error.advice}` : '';
    process.stderr.write(harmless(`haulier: ${messageOf(error)}${advice}\n`));
    process.exit(1);
  },
);
