/** `Service` (nova/objects/service.py). */
import { randomUUID } from 'node:crypto';
import type { NovaObject } from '../../../src/nova/object.js';
import type { Cell } from './cell.js';
import { novaFailure } from './failures.js';
import { changed, type Methods } from './methods.js';
import { now, type Row } from './table.js';
import { fromRow, reload, stamps } from './wire.js';

export const serviceColumns = ['id', 'uuid', 'host', 'binary', 'topic', 'report_count', 'disabled', 'disabled_reason', 'last_seen_up', 'forced_down', 'version', ...stamps];
const upSeconds = 60;

const view = (row: Row | undefined): Row | null => (row ? fromRow('Service', row, serviceColumns) : null);

/** Lowest version of a binary; 0 if there is none. */
function minimum(cell: Cell, binary: unknown): number {
  const versions = cell.services.all({ binary }).map((row) => Number(row['version']));
  return versions.length > 0 ? Math.min(...versions) : 0;
}

function checkAge(cell: Cell, service: NovaObject): void {
  const version = service.number('version') ?? 0;
  const least = minimum(cell, service.get('binary'));
  if (version < least) throw novaFailure('ServiceTooOld', { thisver: version, minver: least });
}

/** Adds a record. */
export function insertService(cell: Cell, values: Row): Row {
  return cell.services.insert({ uuid: randomUUID(), report_count: 0, disabled: false, disabled_reason: null, last_seen_up: null, forced_down: false, version: 0, ...values });
}

/** True if the service has given a sign of life (`service_down_time`). */
export function isUp(row: Row): boolean {
  const seen = Date.parse(String(row['last_seen_up'] ?? row['created_at']));
  return row['disabled'] !== true && row['forced_down'] !== true && Date.now() - seen < upSeconds * 1000;
}

export const serviceMethods: Methods = {
  class: {
    'Service.get_minimum_version': { names: ['binary', 'use_slave'], run: ({ cell, args }) => minimum(cell, args['binary']) },
    'Service.get_by_host_and_binary': { names: ['host', 'binary'], run: ({ cell, args }) => view(cell.services.one({ host: args['host'], binary: args['binary'] })) },
    'Service.get_by_compute_host': {
      names: ['host', 'use_slave'],
      run: ({ cell, args }) => {
        const row = cell.services.one({ host: args['host'], binary: 'nova-compute' });
        if (!row) throw novaFailure('ComputeHostNotFound', { host: args['host'] });
        return view(row);
      },
    },
  },
  instance: {
    'Service.create': {
      names: [],
      run: ({ cell }, service) => {
        checkAge(cell, service);
        const { host, binary } = { host: service.get('host'), binary: service.get('binary') };
        if (cell.services.one({ host, binary })) throw novaFailure('ServiceBinaryExists', { host, binary });
        reload(service, insertService(cell, changed(service, serviceColumns)), serviceColumns);
        service.setChanges([]);
      },
    },
    'Service.save': {
      names: [],
      run: ({ cell }, service) => {
        checkAge(cell, service);
        const row = cell.services.one({ id: service.get('id') });
        if (!row) throw novaFailure('ServiceNotFound', { service_id: service.get('id') });
        const updates = changed(service, serviceColumns);
        const beats = Number(updates['report_count'] ?? 0) > Number(row['report_count']);
        cell.services.update(row, { ...updates, ...(beats ? { last_seen_up: now() } : {}) });
        reload(service, row, serviceColumns);
        service.setChanges([]);
      },
    },
  },
};
