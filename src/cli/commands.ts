/**
 * The table of commands. The usage text, the manual page (docs/haulier.8) and the completion of bash come from it. What a command does is
 * imported when it is run: the service shall not carry the code of the others.
 */
import type { LoadedConfig } from '../base/config/load.js';
import { assurances, haulRequest } from './haul-request.js';
import { templateRequest } from './template-request.js';

/** Writes one line to standard output. */
export type Print = (line: string) => void;

/** A command. */
export interface Command {
  readonly name: string;
  /** Its arguments, as in the usage text. */
  readonly synopsis: string;
  /** One line. */
  readonly summary: string;
  /** More, for the manual page. */
  readonly detail?: string;
  /** What bash offers as the first word: a container of this host, or one of these. */
  readonly first?: 'container' | readonly string[];
  /** What bash offers as the second word. */
  readonly second?: 'container';
  readonly options?: readonly string[];
  /** Its words are checked before the configuration is read. @returns a complaint, or how to run it */
  parse(words: readonly string[]): string | ((loaded: LoadedConfig, print: Print) => Promise<number>);
}

/** Sorts words into options and plain words. `known` says which options take a value. @returns a complaint about an unknown option */
function sorted(words: readonly string[], known: Readonly<Record<string, 'switch' | 'value'>>): string | { readonly plain: readonly string[]; readonly options: Readonly<Record<string, string>> } {
  const plain: string[] = [];
  const options: Record<string, string> = {};
  for (let at = 0; at < words.length; at++) {
    const word = words[at]!;
    const [name, inline] = word.split(/=(.*)/s, 2) as [string, string | undefined];
    const kind = Object.hasOwn(known, name) ? known[name] : undefined;
    if (!word.startsWith('-') || word === '-') plain.push(word);
    else if (!kind || (kind === 'switch' && inline !== undefined)) return `unknown argument ${word}`;
    else if (kind === 'switch') options[name] = '';
    else {
      const value = inline ?? words[++at];
      if (value === undefined || value === '') return `${name} needs a value`;
      options[name] = value;
    }
  }
  return { plain, options };
}

/** A command that takes one container and these options. */
function onContainer(name: string, known: Readonly<Record<string, 'switch' | 'value'>>, run: (id: string, options: Readonly<Record<string, string>>) => string | ReturnType<Command['parse']>): Command['parse'] {
  return (words) => {
    const given = sorted(words, known);
    if (typeof given === 'string') return given;
    const [id] = given.plain;
    return id === undefined || given.plain.length !== 1 ? `${name} takes one container` : run(id, given.options);
  };
}

function nothing(run: (loaded: LoadedConfig, print: Print) => Promise<number>): Command['parse'] {
  return (words) => (words.length > 0 ? `unknown argument ${words[0]}` : run);
}

/** All, in the order in which they are shown. `serve` and `config` are done by main.ts itself. */
export const commands: readonly Command[] = [
  { name: 'serve', synopsis: '', summary: 'run the compute service (the default)', parse: nothing(async (loaded) => (await import('./serve.js')).serve(loaded)) },
  {
    name: 'config', synopsis: '', summary: 'print the effective configuration, secrets hidden',
    parse: nothing(async (loaded, print) => { print((await import('../base/config/show.js')).showConfig(loaded.settings).trimEnd()); return 0; }),
  },
  {
    name: 'check', synopsis: '', summary: 'say what this host and its control plane lack',
    detail: 'Exit status 1 if something is missing.',
    parse: nothing(async (loaded, print) => (await import('./check.js')).check(loaded, print)),
  },
  {
    name: 'ps', synopsis: '[--json]', summary: 'list the containers of this host', options: ['--json'],
    detail: 'Id, name, state, time since the start, memory, addresses, and the operation that works on it.',
    parse: (words) => {
      const given = sorted(words, { '--json': 'switch' });
      if (typeof given === 'string') return given;
      if (given.plain.length > 0) return `unknown argument ${given.plain[0]}`;
      return async (loaded, print) => (await import('./look.js')).ps(loaded, '--json' in given.options, print);
    },
  },
  {
    name: 'top', synopsis: '[--once]', summary: 'show what the running containers use, most CPU first', options: ['--once'],
    detail: 'Measured over a second. On a terminal again and again until Ctrl-C; with --once, or into a pipe, one time.',
    parse: (words) => {
      const given = sorted(words, { '--once': 'switch' });
      if (typeof given === 'string') return given;
      if (given.plain.length > 0) return `unknown argument ${given.plain[0]}`;
      return async (loaded) => (await import('./top.js')).top(loaded, '--once' in given.options);
    },
  },
  {
    name: 'show', synopsis: '[--json] ID', summary: 'show all that is known of a container', first: 'container', options: ['--json'],
    parse: onContainer('show', { '--json': 'switch' }, (id, options) => async (loaded, print) => (await import('./look.js')).show(loaded, id, '--json' in options, print)),
  },
  {
    name: 'exec', synopsis: '[--no-tty] ID [COMMAND [ARGUMENT]...]', summary: 'run a command in a container; a shell without one', first: 'container', options: ['--no-tty'],
    detail: 'On a terminal the command gets one of its own. The exit status is the command\'s. While it runs the container cannot be suspended.',
    parse: (words) => {
      const terminal = words[0] !== '--no-tty';
      const [id, ...command] = terminal ? words : words.slice(1);
      if (id === undefined) return 'exec takes a container and a command';
      if (id.startsWith('-')) return `unknown argument ${id}`;
      const plain = command[0] === '--' ? command.slice(1) : command;
      return async (loaded) => (await import('./exec.js')).exec(loaded, id, plain.length > 0 ? plain : ['/bin/sh'], terminal);
    },
  },
  {
    name: 'logs', synopsis: '[-f] [-n LINES] ID', summary: 'print a container\'s console; with -f go on with what comes', first: 'container', options: ['-f', '-n'],
    detail: 'What is kept of it, over restarts of the container and the service: console_log_bytes of [haulier], twice.',
    parse: onContainer('logs', { '-f': 'switch', '--follow': 'switch', '-n': 'value', '--lines': 'value' }, (id, options) => {
      const lines = options['-n'] ?? options['--lines'];
      if (lines !== undefined && !/^\d+$/.test(lines)) return `-n takes a number, not ${lines}`;
      const follow = '-f' in options || '--follow' in options;
      return async (loaded) => (await import('./logs.js')).logs(loaded, id, lines === undefined ? undefined : Number(lines), follow);
    }),
  },
  {
    name: 'console', synopsis: 'ID', summary: 'sit down at a container\'s console; Ctrl-] leaves it', first: 'container',
    detail: 'Others may sit there too: all see the same. The container\'s log goes on.',
    parse: onContainer('console', {}, (id) => async (loaded) => (await import('./console.js')).sitDown(loaded, id)),
  },
  {
    name: 'can-freeze', synopsis: 'ID', summary: 'say whether a container could be suspended now, and what stands in the way', first: 'container',
    detail: 'Exit status 1 if it cannot, 2 if there is nothing to judge.',
    parse: onContainer('can-freeze', {}, (id) => async (loaded, print) => (await import('./freeze.js')).canFreeze(loaded, id, print)),
  },
  {
    name: 'haul', synopsis: `watch [--json] [ID] | check [--address ADDRESS[:PORT]] ID HOST | decide ID here ${assurances.here} | decide ID there ${assurances.there}`,
    summary: 'follow hauls; say what would stop one to another host; decide one whose destination is lost for good',
    detail: 'watch prints a line for each stage and round; of one container until its haul is over (exit status 1 if it did not get through), else until Ctrl-C. check only looks, at both hosts; exit status 1 if something stops the haul. decide works only where the other host does not say what became of a container that was offered to it (stage asking): here thaws it here, there removes it here.',
    first: ['watch', 'check', 'decide'], second: 'container', options: ['--json', '--address', ...Object.values(assurances)],
    parse: (words) => {
      const asked = haulRequest(words);
      return typeof asked === 'string' ? asked : async (loaded, print) => (await import('./haul.js')).haulCommand(loaded, asked, print);
    },
  },
  {
    name: 'template', synopsis: 'mark ID | capture ID NAME [--output FILE] [--keep PATH]...', summary: 'note what a container\'s tree is now; save what has changed in it since as a template',
    first: ['mark', 'capture'], second: 'container', options: ['--output', '--keep'],
    parse: (words) => {
      const asked = templateRequest(words);
      return typeof asked === 'string' ? asked : async (loaded, print) => (await import('./template.js')).templateCommand(loaded, asked, print);
    },
  },
  {
    name: 'snapshot-key', synopsis: '', summary: 'make a key for snapshots with memory, in front of those in the file that snapshot_key of [haulier] names',
    parse: nothing(async (loaded, print) => (await import('./snapshot-key.js')).makeSnapshotKey(loaded, print)),
  },
  {
    name: 'host', synopsis: 'freeze | thaw', summary: 'suspend every container of this host, or resume those; the service must be stopped', first: ['freeze', 'thaw'],
    parse: (words) => {
      const [what] = words;
      if (words.length !== 1 || (what !== 'freeze' && what !== 'thaw')) return 'host takes one word: freeze or thaw';
      return async (loaded, print) => (await import('./freeze.js')).hostCommand(loaded, what, print);
    },
  },
  {
    name: 'completion', synopsis: '', summary: 'print the completion for bash',
    detail: 'For /usr/share/bash-completion/completions/haulier.',
    parse: nothing(async (_loaded, print) => { print((await import('./completion.js')).completion().trimEnd()); return 0; }),
  },
];

/** The usage text. */
export function usage(): string {
  const wide = 34;
  const lines = commands.map(({ name, synopsis, summary }) => {
    const head = `  ${[name, synopsis].filter(Boolean).join(' ')}`;
    return head.length <= wide ? `${head.padEnd(wide + 1)}${summary}` : `${head}\n${' '.repeat(wide + 1)}${summary}`;
  });
  return `usage: haulier [--config-file FILE]... [--config-dir DIR]... [--debug] [COMMAND]

commands (ID: a container's id, the beginning of one, or a server's name):
${lines.join('\n')}
`;
}

/** True as soon as the words so far are those of `exec` and its container: what follows is another program's. */
export function isForeign(words: readonly string[]): boolean {
  return words[0] === 'exec' && words.length > 1 && !words.at(-1)!.startsWith('-');
}
