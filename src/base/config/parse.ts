/** oslo.config's INI dialect (oslo_config/iniparser.py, and ConfigParser in cfg.py), rule by rule. It is not Python's configparser. */
import type { ConfigProblem } from './problems.js';

/** One assignment of a file. */
export interface Entry {
  /** Value with quotes taken off; continuation lines joined by a line feed. Not yet interpolated. */
  readonly value: string;
  readonly file: string;
  /** Line of the key, from 1. */
  readonly line: number;
}

/** One file, read. */
export interface ParsedFile {
  readonly path: string;
  /** Section names in the order of their first appearance, as written. */
  readonly sections: readonly string[];
  /** The assignments of a key in a section, in order. Section names fold as oslo folds them: `[Neutron]` is `[neutron]`, `[default]` is not `[DEFAULT]`. */
  lookup(section: string, key: string): readonly Entry[];
  /** Keys of a section, each with its first entry. */
  keys(section: string): ReadonlyMap<string, Entry>;
}

/** oslo's `_normalize_group_name`: all lower case, but `DEFAULT` stays. */
export const foldSection = (name: string): string => (name === 'DEFAULT' ? name : name.toLowerCase());

const none: readonly Entry[] = [];

class Sections implements ParsedFile {
  readonly sections: string[] = [];
  readonly #byName = new Map<string, Map<string, Entry[]>>();
  constructor(readonly path: string) {}

  open(section: string): void {
    if (!this.sections.includes(section)) this.sections.push(section);
    if (!this.#byName.has(foldSection(section))) this.#byName.set(foldSection(section), new Map());
  }
  add(section: string, key: string, entry: Entry): void {
    const keys = this.#byName.get(foldSection(section))!;
    keys.set(key, [...(keys.get(key) ?? none), entry]);
  }
  lookup(section: string, key: string): readonly Entry[] {
    return this.#byName.get(foldSection(section))?.get(key) ?? none;
  }
  keys(section: string): ReadonlyMap<string, Entry> {
    return new Map([...(this.#byName.get(foldSection(section)) ?? [])].map(([key, entries]) => [key, entries[0]!]));
  }
}

/** oslo takes one pair of equal quotes off the first line's value; a lone quote counts as a pair and leaves nothing. */
function unquote(value: string): string {
  const quote = value[0];
  return (quote === '"' || quote === "'") && value.endsWith(quote) ? value.slice(1, -1) : value;
}

interface Assignment {
  readonly key: string;
  readonly lines: string[];
  readonly line: number;
}

/**
 * Reads a file's `text`. oslo stops at the first error; here every one is returned in `problems`, named by oslo's words, and
 * the text of a wrong line is never quoted: it may be the second half of a password.
 */
export function parseIni(text: string, path: string): { readonly file: ParsedFile; readonly problems: readonly ConfigProblem[] } {
  const file = new Sections(path);
  const problems: ConfigProblem[] = [];
  let section: string | undefined;
  let open: Assignment | undefined;
  let number = 0;

  const problem = (what: string, line = number, option = '-'): void => {
    problems.push({ where: `${path}:${line}`, section: section ?? '-', option, problem: what });
  };
  const flush = (): void => {
    if (!open) return;
    const { key, lines, line } = open;
    open = undefined;
    if (section === undefined) problem('Section must be started before assignment', line, key);
    else file.add(section, key, { value: lines.join('\n'), file: path, line });
  };
  const startSection = (line: string): void => {
    if (!line.endsWith(']')) problem('Invalid section (must end with ])');
    else if (line.length <= 2) problem('Empty section name');
    else {
      // no trim: `[ neutron ]` is a section of that name with blanks, which nobody reads
      section = line.slice(1, -1);
      file.open(section);
    }
  };
  const assign = (line: string): void => {
    const at = line.search(/[:=]/);
    if (at < 0) return problem("No ':' or '=' found in assignment");
    const key = line.slice(0, at).trim();
    if (key === '') return problem('Key cannot be empty');
    open = { key, lines: [unquote(line.slice(at + 1).trim())], line: number };
  };

  for (const raw of text.split(/\r\n|\r|\n/)) {
    number += 1;
    const line = raw.trimEnd();
    if (line === '') flush();
    else if (/^[ \t]/.test(line)) {
      // also a line as `  # note`: oslo knows comments only at the start of a line
      if (open) open.lines.push(line.trimStart());
      else problem('Unexpected continuation line');
    } else {
      flush();
      if (line.startsWith('[')) startSection(line);
      else if (!/^[#;]/.test(line)) assign(line);
    }
  }
  flush();
  return { file, problems };
}
