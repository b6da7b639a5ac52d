/** The recorded messages of a real 2025.1 cloud, and what the real conductors of three releases answered (docs in wire/). */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../src/base/package-root.js';
import { isPrimitive, type Primitive } from '../../src/nova/object.js';

const folder = join(packageRoot, 'test/contract/wire');

/** A message as recorded. */
export interface Recorded {
  readonly flow: string;
  readonly kind: 'call' | 'cast' | 'fanout' | 'reply';
  readonly from: string;
  readonly routing_key: string;
  readonly body: { readonly 'oslo.message': {
    readonly method: string; readonly args: Record<string, unknown>; readonly version: string; readonly namespace?: string;
    readonly _msg_id?: string; readonly result?: unknown; readonly failure?: unknown;
  } & Record<string, unknown> };
}

/** Every recorded message, in order, flow by flow. */
export function recordings(): Recorded[] {
  return readdirSync(folder).filter((name) => name.endsWith('.jsonl')).sort().flatMap((name) =>
    readFileSync(join(folder, name), 'utf8').trim().split('\n').map((line) => ({ flow: name.replace('.jsonl', ''), ...JSON.parse(line) as Omit<Recorded, 'flow'> })));
}

/** Samples by release. */
export function samples(): Record<string, Record<string, unknown>> {
  const all = JSON.parse(readFileSync(join(folder, 'wire-samples.json'), 'utf8')) as Record<string, Record<string, unknown>>;
  return Object.fromEntries(Object.entries(all).filter(([, value]) => typeof value === 'object'));
}

/** Every object in a value, nested ones too. */
export function* primitives(value: unknown): Generator<Primitive> {
  if (typeof value !== 'object' || value === null) return;
  if (!Array.isArray(value) && isPrimitive(value)) yield value;
  for (const item of Object.values(value)) yield* primitives(item);
}

/** Messages that a compute service receives. */
export function computeRequests(): Recorded[] {
  return recordings().filter((message) => message.kind !== 'reply' && /^compute(-alt)?(\.|$)/.test(message.routing_key));
}

/** Calls to the conductor with their answers. */
export function conductorCalls(): { request: Recorded; result: unknown }[] {
  const all = recordings();
  const replies = new Map(all.filter((message) => message.kind === 'reply').map((message) => [message.body['oslo.message']._msg_id, message]));
  return all.filter((message) => message.kind === 'call' && message.routing_key === 'conductor' && message.body['oslo.message'].method.startsWith('object_'))
    .flatMap((request) => {
      const reply = replies.get(request.body['oslo.message']._msg_id);
      return reply && !reply.body['oslo.message'].failure ? [{ request, result: reply.body['oslo.message'].result }] : [];
    });
}

/** A value whose lists of changes are sorted: Python's sets have no order. */
export function normal(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(normal);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) =>
    [key, ['nova_object.changes', 'obj_what_changed'].includes(key) && Array.isArray(item) ? [...item as string[]].sort() : normal(item)]));
}
