/** Against the real oslo.config: what it did with each case is in recorded/oslo.json (made by recorded/record-oslo.py). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import * as make from '../../../src/base/config/option.js';
import { parseIni } from '../../../src/base/config/parse.js';
import { resolve } from '../../../src/base/config/resolve.js';
import * as types from '../../../src/base/config/types.js';
import { ValueProblem, type ValueType } from '../../../src/base/config/types.js';
import { packageRoot } from '../../../src/base/package-root.js';

interface IniCase { text: string; error?: string; line?: number; sections?: Record<string, Record<string, string[]>> }
interface ValueCase { type: string; text: string; value?: unknown; error?: true }
interface OptionSpec { kind: string; name: string; section: string; default?: never; deprecated?: string[]; min?: number; max?: number }
interface ResolveCase { options: string; files: string[]; result: Record<string, { value?: unknown; error?: true }> }
interface Recording { ini: IniCase[]; values: ValueCase[]; sets: Record<string, OptionSpec[]>; resolve: ResolveCase[] }

const recorded = JSON.parse(readFileSync(join(packageRoot, 'test/unit/config/recorded/oslo.json'), 'utf8')) as Recording;
const bare = (value: unknown): unknown => (value === undefined ? null : value);

recorded.ini.forEach(({ text, error, line, sections }, at) => {
  test(`ini ${at}: ${JSON.stringify(text)}`, (t) => {
    const { file, problems } = parseIni(text, '/x.conf');
    if (error !== undefined) {
      t.is(problems[0]?.problem, error);
      // oslo reports a missing section at the line after the assignment; here it is the line itself
      t.is(problems[0]?.where, `/x.conf:${error.startsWith('Section must') ? 1 : line}`);
      return;
    }
    t.deepEqual(problems, []);
    const found = Object.fromEntries(
      Object.keys(sections!).map((section) => [section, Object.fromEntries([...file.keys(section).keys()].map((key) => [key, file.lookup(section, key).map((entry) => entry.value)]))]),
    );
    t.deepEqual(found, sections!);
  });
});

const byName: Record<string, ValueType<unknown>> = {
  string: types.stringType, boolean: types.booleanType, integer: types.integerType(), integer0to9: types.integerType({ min: 0, max: 9 }), float: types.floatType(),
  float0: types.floatType({ min: 0 }), port: types.portType, list: types.listType(types.stringType) as ValueType<unknown>,
  listOfIntegers: types.listType(types.integerType()) as ValueType<unknown>, dict: types.dictType as ValueType<unknown>, choice: types.choiceType(['a', 'b']) as ValueType<unknown>,
  choiceAnyCase: types.choiceType(['days', 'Hours'], true) as ValueType<unknown>, uri: types.uriType, hostAddress: types.hostAddressType, hostDomain: types.hostDomainType,
} as Record<string, ValueType<unknown>>;

for (const { type, text, value, error } of recorded.values) {
  test(`value ${type} ${JSON.stringify(text)}`, (t) => {
    if (error) t.throws(() => byName[type]!.parse(text), { instanceOf: ValueProblem });
    // oslo gives the text as it was written where the case does not matter; the type here promises one of the choices
    else if (type === 'choiceAnyCase') t.is(String(byName[type]!.parse(text)).toLowerCase(), String(value).toLowerCase());
    else t.is(JSON.stringify(bare(byName[type]!.parse(text))), JSON.stringify(value));
  });
}

function tableOf(specs: readonly OptionSpec[]): make.Table {
  const sections: Record<string, { help: string; options: Record<string, make.Option> }> = {};
  for (const { kind, name, section, ...rest } of specs) {
    const given = { help: '', ...rest };
    const option = {
      string: () => make.text(given), boolean: () => make.boolean({ ...given, default: given.default! }), float: () => make.float(given),
      list: () => make.list(given), integer: () => make.integer(given), multi: () => make.multi({ ...given, default: given.default! }),
    }[kind]!();
    (sections[section] ??= { help: '', options: {} }).options[name] = option;
  }
  return sections;
}

recorded.resolve.forEach(({ options, files, result }, at) => {
  test(`resolve ${at}: ${JSON.stringify(files)}`, (t) => {
    const parsed = files.map((text, number) => parseIni(text, `/${number}.conf`).file);
    const { values, problems } = resolve({ table: tableOf(recorded.sets[options]!), files: parsed, facts: { hostName: 'h', address: '::1' } });
    for (const [where, { value, error }] of Object.entries(result)) {
      const [section, name] = where.split('.') as [string, string];
      // a wrong option that another refers to is reported once; oslo raises for both
      if (error) t.true(problems.length > 0 && bare(values[section]![name]) === null, where);
      else t.deepEqual(bare(values[section]![name]), value, where);
    }
    t.is(problems.length > 0, Object.values(result).some((one) => one.error === true));
  });
});
