/** How an option is described, and the TypeScript type that follows from its description. */
import { booleanType, choiceType, dictType, floatType, integerType, listType, portType, stringType, type Bounds, type ValueType } from './types.js';

/** What a default may depend on. */
export interface HostFacts {
  /** As gethostname(2) gives it. */
  readonly hostName: string;
  /** The address from which this host talks to others (oslo_utils.netutils.get_my_ipv4). */
  readonly address: string;
}

/** Default of an option: text is interpolated and parsed, anything else is taken as it is. */
export type Default = string | number | boolean | readonly string[] | ((facts: HostFacts) => string) | undefined;

/** One option. `T` is what reading it yields. */
export interface Option<T = unknown> {
  readonly type: ValueType<unknown>;
  readonly default: Default;
  /** One line: what it does, with its unit. */
  readonly help: string;
  readonly secret: boolean;
  /** The entries of every file count, as for oslo's MultiStrOpt. */
  readonly multi: boolean;
  /** Older names, each `name` (same section) or `section.name`. */
  readonly deprecated: readonly string[];
  /** What the sample shows as default where the real one differs from host to host. */
  readonly sample: string | undefined;
  /** keystoneauth takes it from the section that `auth_section` names. */
  readonly auth: boolean;
  /** Only for the compiler. */
  readonly yields?: T;
}

/** A section: its options by name. */
export interface Section {
  readonly help: string;
  /** Unknown names are an error here, not ignored. */
  readonly strict?: boolean;
  readonly options: Readonly<Record<string, Option>>;
}

/** Sections by name. */
export type Table = Readonly<Record<string, Section>>;

/** The values of a table's options, by section and name. */
export type ValuesOf<T extends Table> = {
  readonly [S in keyof T]: { readonly [O in keyof T[S]['options']]: T[S]['options'][O] extends Option<infer V> ? V : never };
};

/** What every constructor takes. */
export interface Given<D> {
  readonly help: string;
  readonly default?: D;
  readonly secret?: boolean;
  readonly deprecated?: readonly string[];
  readonly sample?: string;
  readonly auth?: boolean;
}

/** With a default an option always has a value; without, it may be undefined. */
type Yield<D, T> = D extends undefined ? T | undefined : T;
type TextDefault = string | ((facts: HostFacts) => string);

/** An option of any type. @param multi see Option.multi */
export function option<T, D extends Default>(type: ValueType<T>, given: Given<D>, multi = false): Option<Yield<D, T>> {
  return {
    type: type as ValueType<unknown>,
    default: given.default,
    help: given.help,
    secret: given.secret ?? false,
    multi,
    deprecated: given.deprecated ?? [],
    sample: given.sample,
    auth: given.auth ?? false,
  };
}

/** Text (oslo StrOpt). */
export const text = <const D extends TextDefault | undefined = undefined>(given: Given<D>): Option<Yield<D, string>> => option(stringType, given);
/** Text of one of the other types: URI, host, path. */
export const typed = <T, const D extends TextDefault | undefined = undefined>(type: ValueType<T>, given: Given<D>): Option<Yield<D, T>> => option(type, given);
/** One of several words (oslo StrOpt with choices). */
export const choice = <const C extends string, const D extends NoInfer<C> | undefined = undefined>(choices: readonly C[], given: Given<D>, ignoreCase = false): Option<Yield<D, C>> =>
  option(choiceType(choices, ignoreCase), given);
/** Whole number (oslo IntOpt). */
export const integer = <const D extends number | undefined = undefined>(given: Given<D> & Bounds): Option<Yield<D, number>> => option(integerType(given), given);
/** Number (oslo FloatOpt). */
export const float = <const D extends number | undefined = undefined>(given: Given<D> & Bounds): Option<Yield<D, number>> => option(floatType(given), given);
/** Port (oslo PortOpt). */
export const port = <const D extends number | undefined = undefined>(given: Given<D>): Option<Yield<D, number>> => option(portType, given);
/** True or false (oslo BoolOpt). */
export const boolean = (given: Given<boolean> & { readonly default: boolean }): Option<boolean> => option(booleanType, given);
/** Values separated by commas (oslo ListOpt). */
export const list = <const D extends readonly string[] | undefined = undefined>(given: Given<D>): Option<Yield<D, readonly string[]>> => option(listType(stringType), given);
/** `key:value` pairs (oslo DictOpt). */
export const dict = (given: Given<undefined>): Option<Readonly<Record<string, string>> | undefined> => option(dictType, given);
/** A key that may be repeated (oslo MultiStrOpt). */
export const multi = (given: Given<readonly string[]> & { readonly default: readonly string[] }): Option<readonly string[]> =>
  option(stringType, given, true) as Option<unknown> as Option<readonly string[]>;
