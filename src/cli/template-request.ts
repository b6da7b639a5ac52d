/** The words after `haulier template`. */

/** What was asked for. */
export interface TemplateRequest {
  readonly verb: 'mark' | 'capture';
  readonly id: string;
  readonly name: string;
  readonly output: string | undefined;
  readonly keep: readonly string[];
}

/** Reads the command's own arguments: `mark ID` or `capture ID NAME [--output FILE] [--keep PATH]...`. @returns a complaint if they are wrong */
export function templateRequest(words: readonly string[]): TemplateRequest | string {
  const plain: string[] = [];
  const keep: string[] = [];
  let output: string | undefined;
  for (let at = 0; at < words.length; at++) {
    const [option, inline] = (words[at] ?? '').split(/=(.*)/s, 2) as [string, string | undefined];
    if (option !== '--output' && option !== '--keep') {
      if (option.startsWith('--')) return `unknown argument ${option}`;
      plain.push(words[at] ?? '');
      continue;
    }
    const value = inline ?? words[++at];
    if (!value) return `${option} needs a value`;
    if (option === '--output') output = value;
    else keep.push(value.replace(/^\/+/, ''));
  }
  const [verb, id, name] = plain;
  if (verb === 'mark' && id && plain.length === 2) return { verb, id, name: '', output, keep };
  if (verb === 'capture' && id && name && plain.length === 3) return { verb, id, name, output, keep };
  return 'template takes: mark ID, or capture ID NAME [--output FILE] [--keep PATH]...';
}
