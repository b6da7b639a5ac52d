/** The conductor's three object methods and its ping, as endpoints of an RPC server (contract B.3; nova/conductor/manager.py). */
import type { Endpoint, RpcRequest } from '../../../src/messaging/types.js';
import { NovaObject, toWire, type Primitive } from '../../../src/nova/object.js';
import type { Manifest } from '../../../src/nova/registry.js';
import type { Cell } from './cell.js';
import { objectFailure } from './failures.js';
import { instanceMethods } from './instances.js';
import type { Methods } from './methods.js';
import { networkMethods } from './network.js';
import { nodeMethods } from './nodes.js';
import { recordMethods } from './records.js';
import { serviceMethods } from './services.js';
import type { Row } from './table.js';
import { backlevel, checkVersion, watch } from './wire.js';

const all: readonly Methods[] = [serviceMethods, nodeMethods, instanceMethods, networkMethods, recordMethods];
const classMethods = Object.assign({}, ...all.map((methods) => methods.class)) as Methods['class'];
const instanceCalls = Object.assign({}, ...all.map((methods) => methods.instance)) as Methods['instance'];

function named(names: readonly string[], args: readonly unknown[], kwargs: Row): Row {
  return { ...Object.fromEntries(args.map((value, index) => [names[index] ?? `argument ${index}`, value])), ...kwargs };
}

function unknownMethod(name: string): Error {
  return objectFailure('UnsupportedObjectError', `The built-in control plane does not know ${name}`);
}

function classAction(cell: Cell, { args, context }: RpcRequest): unknown {
  const name = `${String(args['objname'])}.${String(args['objmethod'])}`;
  const versions = (args['object_versions'] ?? {}) as Manifest;
  checkVersion(String(args['objname']), versions[String(args['objname'])]);
  const method = classMethods[name];
  if (!method) throw unknownMethod(name);
  const result = method.run({ cell, context, args: named(method.names, (args['args'] ?? []) as unknown[], (args['kwargs'] ?? {}) as Row) });
  return backlevel(toWire(result ?? null), versions);
}

function objectAction(cell: Cell, { args, context }: RpcRequest): unknown {
  const wire = args['objinst'] as Primitive;
  checkVersion(wire['nova_object.name'], wire['nova_object.version']);
  const object = NovaObject.from(wire);
  const name = `${object.name}.${String(args['objmethod'])}`;
  const method = instanceCalls[name];
  if (!method) throw unknownMethod(name);
  const difference = watch(object);
  const result = method.run({ cell, context, args: named(method.names, (args['args'] ?? []) as unknown[], (args['kwargs'] ?? {}) as Row) }, object);
  return [difference(), toWire(result ?? null)];
}

const objectMethods: Readonly<Record<string, (cell: Cell, request: RpcRequest) => unknown>> = {
  object_class_action_versions: classAction,
  object_action: objectAction,
  object_backport_versions: (_cell, { args }) => backlevel(args['objinst'], args['object_versions'] as Manifest),
};

/** The conductor's endpoints but for `compute_task`. */
export function conductorEndpoints(cell: Cell): Endpoint[] {
  return [
    {
      namespace: undefined, version: '3.0', has: (method) => Object.hasOwn(objectMethods, method),
      // asynchronous, so that what is thrown becomes the call's failure
      handle: async (request) => Promise.resolve(structuredClone(objectMethods[request.method]?.(cell, request))),
    },
    {
      namespace: 'baseapi', version: '1.1', has: (method) => method === 'ping',
      handle: ({ args }) => Promise.resolve({ service: 'conductor', arg: args['arg'] }),
    },
  ];
}
