/** One table of the cell's database: rows in memory, numbered from 1. */

/** Columns by name; joined objects in their wire form. */
export type Row = Record<string, unknown>;

/** A date as Nova's objects carry it. */
export function now(): string {
  return new Date().toISOString().replace(/\.\d+Z$/, 'Z');
}

/** Rows with id, created_at, updated_at, deleted_at and deleted, which every table of Nova has. */
export class Table {
  #rows: Row[] = [];
  #last = 0;

  /** Adds a row. @returns the stored row itself */
  insert(values: Row): Row {
    this.#last = Math.max(this.#last + 1, typeof values['id'] === 'number' ? values['id'] : 0);
    const row: Row = { created_at: now(), updated_at: null, deleted_at: null, deleted: false, ...values, id: values['id'] ?? this.#last };
    this.#rows.push(row);
    return row;
  }
  update(row: Row, values: Row): void {
    Object.assign(row, values, { updated_at: now() });
  }
  /** Marks a row as deleted, as Nova does; it stays for those who ask for deleted ones. */
  bury(row: Row): void {
    Object.assign(row, { deleted: true, deleted_at: now() });
  }
  /** Takes rows away for good. */
  remove(wanted: Row): void {
    this.#rows = this.#rows.filter((row) => !matches(row, wanted));
  }
  /** Rows that have all of `wanted`. @param deleted which rows count: `no` (living ones), `yes` (all), `only` */
  all(wanted: Row = {}, deleted: unknown = 'no'): Row[] {
    return this.#rows.filter((row) => matches(row, wanted) && (deleted === 'yes' || (row['deleted'] === true) === (deleted === 'only')));
  }
  one(wanted: Row, deleted: unknown = 'no'): Row | undefined {
    return this.all(wanted, deleted)[0];
  }
}

function matches(row: Row, wanted: Row): boolean {
  return Object.entries(wanted).every(([column, value]) => row[column] === value);
}
