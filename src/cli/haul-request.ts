/** The words after `haulier haul`. */
import { isIP } from 'node:net';

/** What was asked for. */
export type HaulRequest =
  | { readonly verb: 'watch'; readonly id: string | undefined; readonly json: boolean }
  | { readonly verb: 'check'; readonly id: string; readonly host: string; readonly address: string | undefined; readonly port: number | undefined }
  | { readonly verb: 'decide'; readonly id: string; readonly place: 'here' | 'there'; /** The operator has said what makes it true. */ readonly sure: boolean };

/** What the operator must say for a decision: without it no copy is thawed, and none removed. */
export const assurances = { here: '--the-other-host-is-dead', there: '--the-other-host-has-it' } as const;

const forms = `haul takes: watch [--json] [ID], check [--address ADDRESS[:PORT]] ID HOST, or decide ID here ${assurances.here} | there ${assurances.there}`;

/** Reads the command's own arguments. @returns a complaint if they are wrong */
export function haulRequest(words: readonly string[]): HaulRequest | string {
  const plain: string[] = [];
  const switches = new Set<string>();
  let address: string | undefined;
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? '';
    const [option, inline] = word.split(/=(.*)/s, 2) as [string, string | undefined];
    if (option === '--address') {
      address = inline ?? words[++at];
      if (!address) return '--address needs a value';
    } else if (['--json', ...Object.values(assurances)].includes(word)) switches.add(word);
    else if (word.startsWith('-')) return `unknown argument ${word}`;
    else plain.push(word);
  }
  const [verb, id, last] = plain;
  const only = (...allowed: readonly string[]): string | undefined => [...switches, ...(address === undefined ? [] : ['--address'])].find((word) => !allowed.includes(word));
  const misplaced = (word: string): string => `${word} does not belong to haul ${verb}`;
  if (verb === 'watch' && plain.length <= 2) {
    const wrong = only('--json');
    return wrong ? misplaced(wrong) : { verb, id, json: switches.has('--json') };
  }
  if (verb === 'check' && id && last && plain.length === 3) {
    const wrong = only('--address');
    const to = address === undefined ? { host: undefined, port: undefined } : readAddress(address);
    if (wrong || !to) return wrong ? misplaced(wrong) : `--address takes ADDRESS or ADDRESS:PORT, not ${address}`;
    return { verb, id, host: last, address: to.host, port: to.port };
  }
  if (verb === 'decide' && id && plain.length === 3 && (last === 'here' || last === 'there')) {
    const wrong = only(assurances[last]);
    return wrong ? misplaced(wrong) : { verb, id, place: last, sure: switches.has(assurances[last]) };
  }
  return forms;
}

/** `192.0.2.1`, `192.0.2.1:8791`, `2001:db8::1`, `[2001:db8::1]:8791`, `name:8791`. */
function readAddress(text: string): { readonly host: string; readonly port: number | undefined } | undefined {
  if (isIP(text) !== 0) return { host: text, port: undefined };
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:\s[\]]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = digits === undefined ? undefined : Number(digits);
  return host === undefined || (bracketed !== undefined && isIP(bracketed) !== 6) || port === 0 || (port ?? 0) > 65_535 ? undefined : { host, port };
}
