/** `docs/haulier.conf.sample`, made from the option table. */
import type { Option, Table } from './option.js';
import { table } from './table.js';

const width = 100;

function wrap(text: string): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length + 3 <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines.map((line) => `# ${line}`);
}

function defaultText(option: Option): string[] {
  if (option.sample !== undefined) return [option.sample];
  if (option.default === undefined || typeof option.default === 'function') return ['<not set>'];
  if (option.multi) return option.default instanceof Array && option.default.length > 0 ? [...option.default] : ['<not set>'];
  return [typeof option.default === 'string' ? option.default : option.type.format(option.default)];
}

function describe(section: string, name: string, option: Option): string[] {
  const notes = [option.type.allowed, option.multi ? 'may be repeated' : '', option.secret ? 'secret' : ''].filter((note) => note !== '');
  const older = option.deprecated.map((old) => `# Deprecated: ${old.includes('.') ? `[${old.replace('.', '] ')}` : `[${section}] ${old}`}`);
  return [...wrap(`${option.help} (${notes.join('; ')})`), ...older, ...defaultText(option).map((text) => `#${name} = ${text}`.trimEnd()), ''];
}

/** The sample file: every option as a comment with its default. */
export function renderSample(shown: Table = table): string {
  const lines = [
    '# Sample configuration of Haulier, generated from the option table (src/base/config/table.ts).',
    '# Haulier reads the same nova.conf as nova-compute; options that it does not know are ignored, except in [haulier].',
    '',
  ];
  for (const [section, { help, options }] of Object.entries(shown)) {
    lines.push(`[${section}]`, ...wrap(help), '', ...Object.entries(options).flatMap(([name, option]) => describe(section, name, option)));
  }
  return `${lines.join('\n').trimEnd()}\n`;
}
