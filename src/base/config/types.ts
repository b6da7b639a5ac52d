/** Types of option values: text in, typed value out (oslo_config/types.py). */
import { isIP } from 'node:net';

/** A type of values. `parse` gets interpolated text. */
export interface ValueType<T> {
  /** What is allowed, in words: `integer, at least 0`. */
  readonly allowed: string;
  /** @returns undefined for an empty text where oslo makes None of it (numbers). @throws ValueProblem */
  parse(text: string): T | undefined;
  /** Text of a value, as a config file would have it. */
  format(value: T): string;
  /** True for floats: Python writes 1.0 where JavaScript writes 1. */
  readonly isFloat?: boolean;
}

/** What is wrong with a text, as the end of a sentence: `is not an integer`. Does not quote the text, which may be secret. */
export class ValueProblem extends Error {}

const same = (value: string): string => value;

/** Any text; oslo's StrOpt without choices, and keystoneauth's plain options. */
export const stringType: ValueType<string> = { allowed: 'text', parse: same, format: same };

/** Text out of `choices`, upper and lower case told apart unless `ignoreCase`. */
export function choiceType<const C extends string>(choices: readonly C[], ignoreCase = false): ValueType<C> {
  const allowed = `one of ${choices.map((choice) => choice || "''").join(', ')}`;
  return {
    allowed,
    parse(text) {
      const found = choices.find((choice) => choice === text || (ignoreCase && choice.toLowerCase() === text.toLowerCase()));
      if (found === undefined) throw new ValueProblem(`is not ${allowed}`);
      return found;
    },
    format: same,
  };
}

const words: Readonly<Record<string, boolean>> = { true: true, 1: true, on: true, yes: true, false: false, 0: false, off: false, no: false };

/** oslo's words, any case: true 1 on yes, false 0 off no. */
export const booleanType: ValueType<boolean> = {
  allowed: 'true or false',
  parse(text) {
    const value = Object.hasOwn(words, text.toLowerCase()) ? words[text.toLowerCase()] : undefined;
    if (value === undefined) throw new ValueProblem('is not a boolean (true, 1, on, yes, false, 0, off, no)');
    return value;
  },
  format: String,
};

/** Bounds of a number, inclusive. */
export interface Bounds {
  readonly min?: number;
  readonly max?: number;
}

function boundsText({ min, max }: Bounds): string {
  if (min !== undefined && max !== undefined) return `, ${min} to ${max}`;
  if (min !== undefined) return `, at least ${min}`;
  return max === undefined ? '' : `, at most ${max}`;
}

function checkBounds(value: number, { min, max }: Bounds): number {
  if (min !== undefined && value < min) throw new ValueProblem(`should be greater than or equal to ${min}`);
  if (max !== undefined && value > max) throw new ValueProblem(`should be less than or equal to ${max}`);
  return value;
}

/** Whole number as Python's int() reads it; empty is None. Beyond 2^53 it is refused rather than rounded. */
export function integerType(bounds: Bounds = {}): ValueType<number> {
  return {
    allowed: `integer${boundsText(bounds)}`,
    parse(text) {
      const trimmed = text.trim();
      if (trimmed === '') return undefined;
      const value = /^[+-]?\d+(_\d+)*$/.test(trimmed) ? Number(trimmed.replaceAll('_', '')) : NaN;
      if (!Number.isSafeInteger(value)) throw new ValueProblem('is not an integer');
      return checkBounds(value, bounds) + 0; // +0: no negative zero
    },
    format: String,
  };
}

/** Number with a point; empty is None. Python also reads `nan` and `inf`: no option means them, so they are refused. */
export function floatType(bounds: Bounds = {}): ValueType<number> {
  return {
    allowed: `number${boundsText(bounds)}`,
    isFloat: true,
    parse(text) {
      const trimmed = text.trim();
      if (trimmed === '') return undefined;
      const value = /^[+-]?(\d[\d_]*\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(trimmed) ? Number(trimmed.replaceAll('_', '')) : NaN;
      if (!Number.isFinite(value)) throw new ValueProblem('is not a number');
      return checkBounds(value, bounds);
    },
    format: (value) => (Number.isInteger(value) ? `${value}.0` : String(value)),
  };
}

/** TCP port. */
export const portType: ValueType<number> = { ...integerType({ min: 0, max: 65535 }), allowed: 'port, 0 to 65535' };

/**
 * Values of `item` with commas between; blanks round them and commas at the end go, an empty item in the middle stays. As
 * oslo: an item that is refused is tried again together with the next one, so items may hold commas.
 */
export function listType<T>(item: ValueType<T>): ValueType<readonly T[]> {
  return {
    allowed: `list of ${item.allowed}, separated by commas`,
    parse(text) {
      const trimmed = text.trim().replace(/,+$/, '');
      return trimmed === '' ? [] : joinUntilValid(trimmed.split(','), (part) => item.parse(part.trim()) as T);
    },
    format: (values) => values.map((value) => item.format(value)).join(','),
  };
}

/** `key:value` pairs with commas between; a part without a colon belongs to the value before it. */
export const dictType: ValueType<Readonly<Record<string, string>>> = {
  allowed: 'key:value pairs, separated by commas',
  parse(text) {
    if (text.trim() === '') return {};
    const pairs = joinUntilValid(text.trim().split(','), (part) => {
      const colon = part.indexOf(':');
      if (colon < 0) throw new ValueProblem('should be NAME:VALUE pairs separated by ","');
      return [part.slice(0, colon).trim(), part.slice(colon + 1).trim()] as const;
    });
    const seen = new Set<string>();
    for (const [key] of pairs) {
      if (key === '') throw new ValueProblem('has an empty key');
      if (seen.has(key)) throw new ValueProblem('has a key twice');
      seen.add(key);
    }
    return Object.fromEntries(pairs);
  },
  format: (value) => Object.entries(value).map(([key, item]) => `${key}:${item}`).join(','),
};

/** oslo's loop: take a part; while it is refused, append the next; with no part left the refusal stands. */
function joinUntilValid<T>(parts: readonly string[], parse: (part: string) => T): T[] {
  const result: T[] = [];
  for (let at = 0; at < parts.length; at += 1) {
    for (let part = parts[at]!; ; part += `,${parts[at]!}`) {
      try {
        result.push(parse(part));
        break;
      } catch (error) {
        if (!(error instanceof ValueProblem) || at + 1 >= parts.length) throw error;
        at += 1;
      }
    }
  }
  return result;
}

/** Absolute URI with scheme and host. */
export const uriType: ValueType<string> = {
  allowed: 'URI with scheme and host',
  parse(text) {
    if (!/^[a-z][a-z0-9+.-]*:\/\/[^\s/?#]+([/?#]\S*)?$/i.test(text)) throw new ValueProblem('is not a URI with scheme and host');
    return text;
  },
  format: same,
};

function hostType(letter: string, allowed: string): ValueType<string> {
  const label = new RegExp(`^(?!-)[${letter}]{1,63}(?<!-)$`, 'i');
  return {
    allowed,
    parse(text) {
      if (isIP(text) !== 0) return text;
      const name = text.endsWith('.') ? text.slice(0, -1) : text;
      const labels = name.split('.');
      // a last label of digits only is a mistyped address
      const good = text.length <= 253 && /[a-z-]/i.test(labels.at(-1)!) && labels.every((one) => label.test(one));
      if (!good) throw new ValueProblem('is not a valid host address');
      return name;
    },
    format: same,
  };
}

/** IP address or host name (oslo HostAddress). A dot at the end is taken off. */
export const hostAddressType = hostType('a-z0-9-', 'IP address or host name');
/** The same with `_` allowed (oslo HostDomain). */
export const hostDomainType = hostType('a-z0-9_-', 'IP address or host name');
