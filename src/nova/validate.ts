/**
 * Checks messages against `schemas/` before anything else sees them. ajv and the schemas are loaded at the first use, each method's
 * validator at its own first use, so an idle service pays nothing for them.
 */
import type { Ajv2020 } from 'ajv/dist/2020.js';
import type { ErrorObject, ValidateFunction } from 'ajv';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { HaulierError } from '../base/errors.js';
import { packageRoot } from '../base/package-root.js';
import { isPrimitive } from './object.js';

const base = 'https://haulier/schemas/';
const load = createRequire(import.meta.url);

let compiler: Ajv2020 | undefined;

function ajv(): Ajv2020 {
  if (!compiler) {
    const { Ajv2020: Compiler } = load('ajv/dist/2020.js') as { Ajv2020: new (options: Record<string, unknown>) => Ajv2020 };
    // test/contract/schemas.test.ts checks the schemas themselves, so no meta schema here; unoptimised code compiles twice as fast
    compiler = new Compiler({ strict: false, meta: false, validateSchema: false, validateFormats: false, inlineRefs: false, messages: false, code: { optimize: false } });
  }
  return compiler;
}

/** Adds a schema file and all that it refers to. */
function addSchema(file: string): void {
  if (ajv().schemas[base + file]) return;
  const text = readFileSync(join(packageRoot, 'schemas', file), 'utf8');
  ajv().addSchema(JSON.parse(text) as Record<string, unknown>, base + file);
  for (const [, referred = ''] of text.matchAll(/"\$ref": ?"\.\.\/([\w./]+)"/g)) addSchema(referred);
}

const validators = new Map<string, ValidateFunction>();

/** The validator of a schema file; undefined if there is no such file. */
function validator(file: string): ValidateFunction | undefined {
  const known = validators.get(file);
  if (known) return known;
  if (!/^(rpc|objects)\/\w+\.json$/.test(file) || !existsSync(join(packageRoot, 'schemas', file))) return undefined;
  addSchema(file);
  const compiled = ajv().getSchema(base + file);
  if (compiled) validators.set(file, compiled);
  return compiled;
}

/** `instance.flavor.memory_mb` of `/instance/nova_object.data/flavor/nova_object.data/memory_mb`. */
function pathOf(error: ErrorObject): string {
  const segments = error.instancePath.split('/').slice(1).map((segment) => segment.replace(/~1/g, '/').replace(/~0/g, '~'));
  const { missingProperty, additionalProperty } = error.params as { missingProperty?: string; additionalProperty?: string };
  return [...segments, missingProperty ?? additionalProperty].filter((segment) => segment !== undefined && segment !== 'nova_object.data').join('.');
}

/** What is wrong, without the value: it may be a secret. */
function problemOf(error: ErrorObject): string {
  const params = error.params as { type?: string | string[]; allowedValue?: unknown; allowedValues?: unknown[]; pattern?: string };
  switch (error.keyword) {
    case 'required': return 'is missing';
    case 'additionalProperties': return 'is not known';
    case 'type': return `must be ${[params.type].flat().join(' or ')}`;
    case 'const': return `must be ${String(params.allowedValue)}`;
    case 'enum': return `must be one of ${(params.allowedValues ?? []).join(', ')}`;
    case 'pattern': return `must match ${params.pattern}`;
    default: return `breaks the rule ${error.keyword}`;
  }
}

function check(validate: ValidateFunction, value: unknown, method: string, prefix: string): void {
  if (validate(value)) return;
  const error = validate.errors?.[0];
  const path = error ? pathOf(error) : '';
  throw new HaulierError('BAD_ARGUMENT', { method, argument: [prefix, path].filter(Boolean).join('.') || '(all)', problem: error ? problemOf(error) : 'is invalid' });
}

/**
 * Checks the arguments of a compute RPC method, objects in their wire form. Fields that our schemas do not know are allowed,
 * arguments that they do not know are not (as Python has it).
 * @throws BAD_ARGUMENT naming the method, the argument with the path inside it, and the problem; UNSUPPORTED if the method is unknown
 */
export function validateRpc(method: string, args: Readonly<Record<string, unknown>>): void {
  const validate = validator(`rpc/${method}.json`);
  if (!validate) throw new HaulierError('UNSUPPORTED', { what: `method ${method}` });
  check(validate, args, method, '');
}

/** True if there is a schema for `method`. */
export function isKnownMethod(method: string): boolean {
  return validator(`rpc/${method}.json`) !== undefined;
}

/**
 * Checks an object's wire form.
 * @throws BAD_ARGUMENT naming the object, the field and the problem; UNSUPPORTED if there is no such object
 */
export function validateObject(primitive: unknown): void {
  if (!isPrimitive(primitive)) throw new HaulierError('BAD_ARGUMENT', { method: 'object', argument: 'nova_object.name', problem: 'is missing' });
  const name = String(primitive['nova_object.name']);
  const validate = validator(`objects/${name}.json`);
  if (!validate) throw new HaulierError('UNSUPPORTED', { what: `object ${name}` });
  check(validate, primitive, 'object', name);
}
