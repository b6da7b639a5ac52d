/** The cell: what the real one keeps in its database, all in memory. */
import { Table } from './table.js';
import type { Release } from '../../../src/nova/types.js';

/** Whose objects this control plane speaks. */
export const release: Release = '2025.1';
/** `Service.version` of that release. */
export const serviceVersion = 68;

/** All tables. */
export class Cell {
  readonly services = new Table();
  readonly nodes = new Table();
  readonly instances = new Table();
  readonly vifs = new Table();
  readonly blockDevices = new Table();
  readonly actions = new Table();
  readonly events = new Table();
  readonly faults = new Table();
  readonly consoleTokens = new Table();
}
