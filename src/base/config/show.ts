/** What `haulier config` prints: the effective values, where each comes from, and no secret. */
import { maskText } from './mask.js';
import type { Table } from './option.js';
import type { Setting } from './resolve.js';
import { table } from './table.js';

/** How much to show. */
export interface ShowOptions {
  /** Leave out what is at its default. */
  readonly changedOnly?: boolean;
}

/**
 * The settings as text, a line `name = value  # origin` each, by section. Secrets are `***`, passwords in URLs too; a value
 * of several lines is shown on one with `\n`. `<not set>` has neither value nor default.
 */
export function showConfig(settings: readonly Setting[], options: ShowOptions = {}, shown: Table = table): string {
  const sections: string[] = [];
  for (const section of Object.keys(shown)) {
    const rows = settings
      .filter((setting) => setting.section === section && !(options.changedOnly && setting.origin === 'default'))
      .flatMap((setting) => texts(setting, shown).map((text) => [`${setting.name} = ${text}`.trimEnd(), setting.origin] as const));
    if (rows.length === 0) continue;
    const width = Math.min(60, Math.max(...rows.map(([left]) => left.length)));
    sections.push([`[${section}]`, ...rows.map(([left, origin]) => `${left.padEnd(width)}  # ${origin}`)].join('\n'));
  }
  return sections.length === 0 ? '' : `${sections.join('\n\n')}\n`;
}

/** One line for each value of a multi-valued option. */
function texts({ section, name, value, secret }: Setting, shown: Table): string[] {
  const option = shown[section]!.options[name]!;
  const values = option.multi ? (value as readonly unknown[]) : [value];
  if (value === undefined || values.length === 0) return ['<not set>'];
  return values.map((one) => maskText(option, name, option.type.format(one), secret).replaceAll('\n', '\\n'));
}
