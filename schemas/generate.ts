/**
 * Writes `registry.json`, `objects/*.json` and `rpc/*.json` from `source/`. Run the compiled file: `node dist/schemas/generate.js`;
 * test/contract/schemas.test.ts does the same in memory and compares.
 */
import { mkdirSync, readdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packageRoot } from '../src/base/package-root.js';
import { argumentExceptions, argumentTypes } from './argument-types.js';
import { fieldSchema, objectFile, subclasses, type Schema } from './field-schema.js';
import { pretty } from './pretty.js';
import { newestForm, objectSource, rpcSource, type ObjectSource, type RpcSource, type SourceField, type SourceMethod } from './source.js';

const dialect = 'https://json-schema.org/draft/2020-12/schema';
const base = 'https://haulier/schemas/';

/** Objects named directly in a field's type. */
function usedObjects(type: string): string[] {
  return [...type.matchAll(/Object<(\w+)>/g)].map((match) => match[1] as string);
}

/** The registry: per object its versions, the objects in its fields, its remote methods, and fields that only some releases have. */
function registry(source: ObjectSource): Schema {
  const objects = Object.fromEntries(Object.keys(source.versions).sort().map((name) => {
    const versions = Object.fromEntries(source.releases.map((release) => [release, source.versions[name]?.[release] ?? null]));
    const object = source.objects[name];
    if (!object) return [name, { versions }];
    const fields = Object.entries(object.fields);
    const uses = [...new Set(fields.flatMap(([, field]) => usedObjects(field.type)))].sort();
    const onlyIn = fields.filter(([, field]) => field.only_in).map(([field, { only_in: releases }]) => [field, releases]);
    const methods = (kind: string): Record<string, string> => Object.fromEntries(
      Object.entries(object.remotable).flatMap(([method, entry]) => {
        const form = newestForm(entry);
        return form?.kind === kind ? [[method, form.args.join(', ')]] : [];
      }));
    return [name, {
      versions,
      ...(uses.length > 0 ? { uses } : {}),
      ...(onlyIn.length > 0 ? { onlyIn: Object.fromEntries(onlyIn) as unknown } : {}),
      class: methods('class'),
      instance: methods('instance'),
    }];
  }));
  return { releases: source.releases, objects };
}

function describeField(field: SourceField): Schema {
  const optional = field.nullable || 'default' in field ? '|null' : ''; // a null becomes the default (B.2)
  return {
    ...fieldSchema(field.type + optional),
    ...(field.only_in ? { $comment: `only in ${field.only_in.join(', ')}` } : {}),
    ...(field.enum ? { examples: [...new Set(Object.values(field.enum).flat())] } : {}), // not enforced: minor versions add values (B.4)
  };
}

/** Schema of an object's primitive. It does not say `type: object`; who refers to it says whether null will do. */
function objectSchema(name: string, source: ObjectSource): Schema {
  const fields = Object.entries(source.objects[name]?.fields ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  const majors = new Set(Object.values(source.versions[name] ?? {}).filter((version) => version !== null).map((version) => version.split('.')[0]));
  return {
    $schema: dialect,
    $id: base + `objects/${name}.json`,
    required: ['nova_object.name', 'nova_object.namespace', 'nova_object.version', 'nova_object.data'],
    properties: {
      'nova_object.name': { const: name },
      'nova_object.namespace': { const: 'nova' },
      'nova_object.version': { type: 'string', pattern: `^(${[...majors].join('|')})\\.\\d+(\\.\\d+)?$` },
      'nova_object.changes': { type: 'array', items: { type: 'string' } },
      'nova_object.data': { type: 'object', properties: Object.fromEntries(fields.map(([field, about]) => [field, describeField(about)])) },
    },
  };
}

function anyOfSubclasses(name: string, members: readonly string[]): Schema {
  return {
    $schema: dialect,
    $id: base + objectFile(name),
    $comment: `${name} or a subclass of it`,
    required: ['nova_object.name'],
    properties: { 'nova_object.name': { enum: members } },
    allOf: members.map((member) => ({
      if: { properties: { 'nova_object.name': { const: member } } },
      then: { $ref: `../objects/${member}.json` },
    })),
  };
}

const wrapperLetters = (method: SourceMethod): string =>
  (method.reverts_task_state ? 'T' : '') + (method.instance_action_event ? 'E' : '') + (method.instance_fault ? 'F' : '') + (method.errors_out_migration ? 'M' : '');

/** Schema of a method's arguments: those of the newest release; required is what every release that has the method requires. */
function rpcSchema(name: string, method: RpcSource['methods'][string]): Schema {
  const forms = method.by_release ? Object.values(method.by_release) : [method as SourceMethod];
  const newest = method.by_release?.['2026.2'] ?? forms[forms.length - 1] as SourceMethod;
  const names = newest.args.map((argument) => argument.split('=')[0] as string);
  const required = names.filter((argument) => forms.every((form) => form.args.includes(argument)));
  return argumentsSchema(name, names, required, `since ${method.min_version}; ${newest.kind}${newest.call_monitored ? ', monitored' : ''}; wrappers ${wrapperLetters(newest) || 'none'}`);
}

function argumentsSchema(name: string, names: readonly string[], required: readonly string[], comment: string): Schema {
  return {
    $schema: dialect,
    $id: base + `rpc/${name}.json`,
    $comment: comment,
    type: 'object',
    required,
    additionalProperties: false, // Nova raises on an unexpected argument
    properties: Object.fromEntries(names.map((argument) => {
      const type = argumentExceptions[name]?.[argument] ?? argumentTypes[argument];
      if (type === undefined) throw new Error(`argument-types.ts does not know ${argument} of ${name}`);
      return [argument, fieldSchema(type)];
    })),
  };
}

/** Every generated file: path below `schemas/` and text. */
export function generate(): Map<string, string> {
  const objects = objectSource();
  const rpc = rpcSource();
  const files = new Map<string, Schema>([['registry.json', registry(objects)]]);
  for (const name of Object.keys(objects.versions)) files.set(`objects/${name}.json`, objectSchema(name, objects));
  for (const [name, members] of Object.entries(subclasses)) files.set(objectFile(name), anyOfSubclasses(name, members));
  for (const [name, method] of Object.entries(rpc.methods)) files.set(`rpc/${name}.json`, rpcSchema(name, method));
  for (const [name, names] of Object.entries(rpc.baseapi.methods)) files.set(`rpc/${name}.json`, argumentsSchema(name, names, names, 'baseapi 1.1; call'));
  return new Map([...files].map(([path, schema]) => [path, pretty(schema) + '\n']));
}

function write(): void {
  const root = join(packageRoot, 'schemas');
  const files = generate();
  for (const folder of ['objects', 'rpc']) {
    mkdirSync(join(root, folder), { recursive: true });
    for (const name of readdirSync(join(root, folder))) if (!files.has(`${folder}/${name}`)) rmSync(join(root, folder, name));
  }
  for (const [path, text] of files) writeFileSync(join(root, path), text);
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) write();
