/** How the conductor's object methods are written down: one entry for each `Object.method`. */
import type { WireContext } from '../../../src/messaging/types.js';
import type { NovaObject } from '../../../src/nova/object.js';
import type { Cell } from './cell.js';
import type { Row } from './table.js';

/** One call of a method. */
export interface Call {
  readonly cell: Cell;
  readonly context: WireContext;
  /** Arguments by name. */
  readonly args: Row;
}

/** A class method: the names of its arguments, in order, and what it does. */
export interface ClassMethod {
  readonly names: readonly string[];
  readonly run: (call: Call) => unknown;
}

/** An instance method: changes `object`, whose differences are answered, and returns the result. */
export interface InstanceMethod {
  readonly names: readonly string[];
  readonly run: (call: Call, object: NovaObject) => unknown;
}

/** Methods by `Object.method`. */
export interface Methods {
  readonly class: Readonly<Record<string, ClassMethod>>;
  readonly instance: Readonly<Record<string, InstanceMethod>>;
}

/** Values of the fields that the caller marked as changed. */
export function changed(object: NovaObject, columns: readonly string[]): Row {
  const marks = object.whatChanged();
  return Object.fromEntries(columns.filter((column) => marks.has(column)).map((column) => [column, object.get(column)]));
}
