/** `$name` and `${group.name}` in values, as oslo.config does it: Python's string.Template with dots allowed in names (cfg.py `_substitute`). */

/** Looks a reference up. @returns its text, or undefined if there is no such option */
export type Lookup = (reference: string) => string | undefined;

// the order of the alternatives is Python's; a `$` that none fits stays as it is
const template = /\$(?:(\$)|([_a-z][._a-z0-9]*)|\{([_a-z][._a-z0-9]*)\})/gi;

/**
 * Puts references in. `$$` and `\$` are a dollar sign. A dot belongs to the name (`$host.example` asks for option `example`
 * of group `host`): write `${host}.example`.
 * @returns the text, and references that `lookup` does not know (oslo raises for them; they are left in the text here)
 */
export function interpolate(value: string, lookup: Lookup): { readonly text: string; readonly unknown: readonly string[] } {
  const unknown: string[] = [];
  const text = value.replaceAll('\\$', '$$$$').replace(template, (whole: string, dollar?: string, named?: string, braced?: string) => {
    if (dollar) return '$';
    const reference = named ?? braced ?? '';
    const found = lookup(reference);
    if (found === undefined) unknown.push(reference);
    return found ?? whole;
  });
  return { text, unknown };
}

/** A typed value as Python's `str()` writes it, which is what a reference to it becomes. */
export function pythonText(value: unknown, isFloat = false): string {
  if (value === undefined || value === null) return '';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'number') return isFloat && Number.isInteger(value) ? `${value}.0` : String(value);
  if (Array.isArray(value)) return `[${value.map((item) => (typeof item === 'string' ? quote(item) : pythonText(item))).join(', ')}]`;
  return String(value);
}

function quote(text: string): string {
  const escaped = text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
  return escaped.includes("'") && !escaped.includes('"') ? `"${escaped}"` : `'${escaped.replaceAll("'", "\\'")}'`;
}
