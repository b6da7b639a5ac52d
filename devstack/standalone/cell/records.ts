/** What tells users how an operation went, console tokens, and lists that are always empty here. */
import { randomUUID } from 'node:crypto';
import type { WireContext } from '../../../src/messaging/types.js';
import type { Cell } from './cell.js';
import { novaFailure } from './failures.js';
import { faultColumns } from './instance-row.js';
import { changed, type Call, type Methods } from './methods.js';
import { now, type Row } from './table.js';
import { fromRow, listOf, reload, stamps } from './wire.js';

const actionColumns = ['id', 'action', 'instance_uuid', 'request_id', 'user_id', 'project_id', 'start_time', 'finish_time', 'message', ...stamps];
const eventColumns = ['id', 'event', 'action_id', 'start_time', 'finish_time', 'result', 'traceback', 'host', 'details', ...stamps];
const tokenColumns = ['id', 'console_type', 'host', 'port', 'internal_access_path', 'instance_uuid', 'access_url_base', 'expires', ...stamps];

/** Opens an action: what the user asked for, found again by its request id. */
export function startAction(cell: Cell, context: WireContext, uuid: unknown, action: string): Row {
  return cell.actions.insert({
    action, instance_uuid: uuid, request_id: context['request_id'], user_id: context['user_id'] ?? null, project_id: context['project_id'] ?? null,
    start_time: now(), finish_time: null, message: null,
  });
}

function actionOf({ cell, context, args }: Call): Row {
  const about = { instance_uuid: args['instance_uuid'], request_id: context['request_id'] };
  const row = cell.actions.one(about);
  if (!row) throw novaFailure('InstanceActionNotFound', about);
  return row;
}

function startEvent(call: Call): Row | null {
  const { cell, args } = call;
  const row = cell.events.insert({
    action_id: actionOf(call)['id'], event: args['event_name'], host: args['host'] ?? null, start_time: now(), finish_time: null, result: null, traceback: null, details: null,
  });
  return args['want_result'] === false ? null : fromRow('InstanceActionEvent', row, eventColumns);
}

function finishEvent(call: Call): Row | null {
  const { cell, args } = call;
  const action = actionOf(call);
  const row = cell.events.all({ action_id: action['id'], event: args['event_name'] }).findLast((event) => event['finish_time'] === null);
  if (!row) throw novaFailure('InstanceActionEventNotFound', { event: args['event_name'], action_id: action['id'] });
  const trace = args['exc_tb'] ?? null;
  cell.events.update(row, { finish_time: now(), result: trace === null ? 'Success' : 'Error', traceback: trace, details: args['exc_val'] ?? null });
  cell.actions.update(action, { finish_time: now(), ...(trace === null ? {} : { message: 'Error' }) });
  return args['want_result'] === true ? fromRow('InstanceActionEvent', row, eventColumns) : null;
}

/** Class methods that find nothing. */
const empty: Methods['class'] = Object.fromEntries([
  ['MigrationList', ['get_by_filters', 'get_in_progress_and_error', 'get_in_progress_by_host_and_node', 'get_unconfirmed_by_dest_compute', 'get_in_progress_by_instance']],
  ['ShareMappingList', ['get_by_instance_uuid']], ['PciDeviceList', ['get_by_compute_node', 'get_by_instance_uuid']],
].flatMap(([name, methods]) => (methods as string[]).map((method) => [`${String(name)}.${method}`, { names: [], run: () => listOf(String(name), []) }])));

export const recordMethods: Methods = {
  class: {
    ...empty,
    'ResourceList.get_by_instance_uuid': { names: ['instance_uuid'], run: () => null },
    'InstanceGroup.get_by_instance_uuid': { names: ['instance_uuid'], run: ({ args }) => { throw novaFailure('InstanceGroupNotFound', { group_uuid: args['instance_uuid'] }); } },
    'Migration.get_by_id': { names: ['migration_id'], run: ({ args }) => { throw novaFailure('MigrationNotFound', { migration_id: args['migration_id'] }); } },
    'InstanceAction.action_start': {
      names: ['instance_uuid', 'action_name', 'want_result'],
      run: ({ cell, context, args }) => {
        const row = startAction(cell, context, args['instance_uuid'], String(args['action_name']));
        return args['want_result'] === false ? null : fromRow('InstanceAction', row, actionColumns);
      },
    },
    'InstanceActionEvent.event_start': { names: ['instance_uuid', 'event_name', 'want_result', 'host'], run: startEvent },
    'InstanceActionEvent.event_finish_with_failure': { names: ['instance_uuid', 'event_name', 'exc_val', 'exc_tb', 'want_result'], run: finishEvent },
    'ConsoleAuthToken.clean_console_auths_for_instance': { names: ['instance_uuid'], run: ({ cell, args }) => cell.consoleTokens.remove({ instance_uuid: args['instance_uuid'] }) },
    'ConsoleAuthToken.clean_expired_console_auths': {
      names: [],
      run: ({ cell }) => {
        for (const row of cell.consoleTokens.all()) if (Number(row['expires']) < Date.now() / 1000) cell.consoleTokens.remove({ id: row['id'] });
      },
    },
  },
  instance: {
    'InstanceFault.create': {
      names: [],
      run: ({ cell }, object) => {
        reload(object, cell.faults.insert({ details: null, host: null, ...changed(object, faultColumns) }), faultColumns);
        object.setChanges([]);
      },
    },
    'ConsoleAuthToken.authorize': {
      names: ['ttl'],
      run: ({ cell, args }, object) => {
        const token = randomUUID();
        const row = cell.consoleTokens.insert({ ...changed(object, tokenColumns), token, expires: Math.floor(Date.now() / 1000) + Number(args['ttl']) });
        reload(object, row, tokenColumns.filter((column) => column !== 'deleted' && column !== 'deleted_at'));
        object.load('token', token);
        object.setChanges([]);
        return token;
      },
    },
  },
};
