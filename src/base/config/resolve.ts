/** From parsed files and a table to typed values: who wins, references, types (oslo_config/cfg.py `_do_get`, `_get_file_value`). */
import { interpolate, pythonText } from './interpolate.js';
import { maskText } from './mask.js';
import { nearest } from './nearest.js';
import type { HostFacts, Option, Table, ValuesOf } from './option.js';
import type { Entry, ParsedFile } from './parse.js';
import type { ConfigProblem } from './problems.js';
import { ValueProblem } from './types.js';

/** Values from the command line, as text: section, option, value. They win over files. */
export type Overrides<T extends Table = Table> = { readonly [S in keyof T]?: { readonly [O in keyof T[S]['options']]?: string } };

/** What the values are made from. */
export interface ResolveInput<T extends Table> {
  readonly table: T;
  /** In the order given: a later file wins. */
  readonly files: readonly ParsedFile[];
  readonly overrides?: Overrides<T>;
  readonly facts: HostFacts;
}

/** One option, resolved. */
export interface Setting {
  readonly section: string;
  readonly name: string;
  /** Typed; undefined where the option has neither value nor default. */
  readonly value: unknown;
  /** `file:line`, `command line`, or `default`. With several entries, the last. */
  readonly origin: string;
  /** The option is secret, or its text refers to one that is. */
  readonly secret: boolean;
}

/** The outcome. Use `values` only if there are no problems. */
export interface Resolved<T extends Table> {
  readonly values: ValuesOf<T>;
  /** In the table's order. */
  readonly settings: readonly Setting[];
  readonly problems: readonly ConfigProblem[];
  /** Deprecated names in use, and the like: for the log. */
  readonly warnings: readonly string[];
}

interface Source {
  /** Several for a multi-valued option. */
  readonly texts: readonly string[];
  readonly origin: string;
}

type Outcome = Setting & { readonly failed: boolean };

class Resolver {
  readonly problems: ConfigProblem[] = [];
  readonly warnings = new Set<string>();
  readonly #done = new Map<string, Outcome>();
  readonly #open: string[] = [];
  constructor(private readonly input: ResolveInput<Table>) {}

  /** Resolves one option of the table, once. */
  setting(section: string, name: string): Outcome {
    const key = `${section}.${name}`;
    const known = this.#done.get(key);
    if (known) return known;
    this.#open.push(key);
    const outcome = this.#resolve(section, name, this.input.table[section]!.options[name]!);
    this.#open.pop();
    this.#done.set(key, outcome);
    return outcome;
  }

  #resolve(section: string, name: string, option: Option): Outcome {
    const home = option.auth ? this.#authSection(section) : section;
    const source = this.#fromOverride(section, name) ?? this.#fromFiles(section, home, name, option) ?? this.#fromDefault(option);
    let { secret } = option;
    const fail = (problem: string): Outcome => {
      this.problems.push({ where: source.origin, section: home, option: name, problem });
      return { section, name, value: undefined, origin: source.origin, secret, failed: true };
    };

    const parsed: unknown[] = [];
    for (const raw of source.texts) {
      if (typeof raw !== 'string') return { section, name, value: freeze(raw), origin: source.origin, secret, failed: false };
      const filled = this.#fill(raw, section, home);
      secret ||= filled.secret;
      if (filled.failed) return { section, name, value: undefined, origin: source.origin, secret, failed: true };
      if (filled.problem) return fail(filled.problem);
      try {
        const value = option.type.parse(filled.text);
        if (value === undefined && option.default !== undefined) return fail(`is empty (allowed: ${option.type.allowed})`);
        parsed.push(value);
      } catch (error) {
        if (!(error instanceof ValueProblem)) throw error;
        const shown = secret ? 'the value (secret)' : `'${maskText(option, name, filled.text)}'`;
        return fail(`${shown} ${error.message} (allowed: ${option.type.allowed})`);
      }
    }
    return { section, name, value: option.multi ? Object.freeze(parsed) : freeze(parsed.at(-1)), origin: source.origin, secret, failed: false };
  }

  /** Where the auth options of a section are: one step, as keystoneauth1.loading.conf.load_from_conf_options does it. */
  #authSection(section: string): string {
    if (!this.input.table[section]!.options['auth_section']) return section;
    const named = this.setting(section, 'auth_section').value;
    return typeof named === 'string' && named !== '' ? named : section;
  }

  #fromOverride(section: string, name: string): Source | undefined {
    const given = this.input.overrides?.[section]?.[name];
    if (given === undefined) return undefined;
    return { texts: [given], origin: 'command line' };
  }

  /** The last file that has the option under any name; in it, the current name before the deprecated ones; of that, the last entry. */
  #fromFiles(section: string, home: string, name: string, option: Option): Source | undefined {
    const names = [[home, name], ...option.deprecated.map((old) => (old.includes('.') ? old.split('.', 2) : [home, old]))] as [string, string][];
    let entries: readonly Entry[] = [];
    for (const file of this.input.files.toReversed()) {
      for (const [group, key] of names) {
        const found = file.lookup(group, key);
        if (found.length === 0) continue;
        if (group !== home || key !== name) {
          this.warnings.add(`${found[0]!.file}:${found[0]!.line}: [${group}] ${key} is deprecated, use [${section}] ${name}`);
        }
        entries = [...found, ...entries];
        if (!option.multi) return { texts: [found.at(-1)!.value], origin: originOf(found.at(-1)!) };
      }
    }
    return entries.length === 0 ? undefined : { texts: entries.map((entry) => entry.value), origin: originOf(entries.at(-1)!) };
  }

  #fromDefault(option: Option): Source {
    const given = typeof option.default === 'function' ? option.default(this.input.facts) : option.default;
    // only text is interpolated and parsed; the cast lets the typed defaults pass through the same door
    return { texts: [given as string], origin: 'default' };
  }

  /** Puts references in. `failed`: one of them is wrong itself and has been reported. */
  #fill(raw: string, section: string, home: string): { text: string; secret: boolean; failed: boolean; problem?: string } {
    let secret = false;
    let failed = false;
    let circle = false;
    const { text, unknown } = interpolate(raw, (reference) => {
      const place = this.#place(reference, section);
      if (!place) {
        const found = this.#rawReference(reference, home);
        secret ||= found !== undefined && /pass|secret|token/i.test(reference);
        return found;
      }
      if (this.#open.includes(place.join('.'))) {
        circle = true;
        return '';
      }
      const setting = this.setting(...place);
      secret ||= setting.secret;
      failed ||= setting.failed;
      return pythonText(setting.value, this.input.table[place[0]]!.options[place[1]]!.type.isFloat);
    });
    if (circle) return { text, secret, failed, problem: 'refers to itself' };
    if (unknown.length === 0) return { text, secret, failed };
    return { text, secret, failed, problem: `refers to $${unknown.join(', $')}, which is no option (write $$ for a dollar sign)` };
  }

  /** `group.name` in that group only; `name` in the own section, then in DEFAULT. */
  #place(reference: string, section: string): [string, string] | undefined {
    const dot = reference.indexOf('.');
    const tries: [string, string][] = dot < 0 ? [[section, reference], ['DEFAULT', reference]] : [[reference.slice(0, dot), reference.slice(dot + 1)]];
    // $DEFAULT.name is no reference in oslo: DEFAULT is not a group
    return tries.find(([group, name]) => (dot < 0 || group !== 'DEFAULT') && has(this.input.table, group) && has(this.input.table[group]!.options, name));
  }

  /** Nova has options that this table has not: a reference to one that a file sets is taken as the file has it. */
  #rawReference(reference: string, home: string): string | undefined {
    const dot = reference.indexOf('.');
    const places = dot < 0 ? [[home, reference], ['DEFAULT', reference]] : [[reference.slice(0, dot), reference.slice(dot + 1)]];
    for (const [group, name] of places as [string, string][]) {
      if (dot >= 0 && group !== group.toLowerCase()) continue;
      const last = this.input.files.toReversed().map((file) => file.lookup(group, name).at(-1)).find((entry) => entry !== undefined);
      if (last && !last.value.includes('$')) return last.value;
    }
    return undefined;
  }

  checkNames(): void {
    for (const [section, { strict, options }] of Object.entries(this.input.table)) {
      if (!strict) continue;
      for (const file of this.input.files) {
        for (const [name, entry] of file.keys(section)) {
          if (has(options, name)) continue;
          const near = nearest(name, Object.keys(options));
          this.problems.push({ where: originOf(entry), section, option: name, problem: `there is no such option${near ? `; did you mean ${near}?` : ''}` });
        }
      }
    }
    for (const file of this.input.files) {
      for (const section of file.sections) {
        const meant = section.trim().toLowerCase() === 'default' ? 'DEFAULT' : section.trim();
        if (section !== meant) this.warnings.add(`${file.path}: section [${section}] is ignored; did you mean [${meant}]?`);
      }
    }
  }
}

const has = (object: object, key: string): boolean => Object.hasOwn(object, key);
const originOf = (entry: Entry): string => `${entry.file}:${entry.line}`;
const freeze = <V>(value: V): V => (typeof value === 'object' && value !== null ? Object.freeze(value) : value);

/** Resolves every option of the table. Pure; reports all problems, each once. */
export function resolve<const T extends Table>(input: ResolveInput<T>): Resolved<T> {
  const resolver = new Resolver(input as ResolveInput<Table>);
  const settings = Object.entries(input.table).flatMap(([section, { options }]) => Object.keys(options).map((name) => resolver.setting(section, name)));
  resolver.checkNames();
  const values: Record<string, Record<string, unknown>> = {};
  for (const { section, name, value } of settings) (values[section] ??= {})[name] = value;
  for (const section of Object.values(values)) Object.freeze(section);
  return {
    values: Object.freeze(values) as ValuesOf<T>,
    settings: settings.map(({ failed: _, ...setting }) => setting),
    problems: resolver.problems,
    warnings: [...resolver.warnings],
  };
}
