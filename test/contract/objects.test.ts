import test from 'ava';
import { NovaObject } from '../../src/nova/object.js';
import { validateObject } from '../../src/nova/validate.js';
import { normal, primitives, recordings, samples } from './recordings.js';

const sources: [string, unknown][] = [
  ...recordings().map((message): [string, unknown] => [`${message.flow} ${message.body['oslo.message'].method ?? 'reply'}`, message.body]),
  ...Object.entries(samples()).flatMap(([release, all]) => Object.entries(all).map(([name, sample]): [string, unknown] => [`${release} ${name}`, sample])),
];

test('every recorded object parses and comes out equal, value for value', (t) => {
  let count = 0;
  for (const [where, body] of sources) {
    for (const primitive of primitives(body)) {
      count++;
      const copy = NovaObject.from(primitive).toPrimitive();
      if (JSON.stringify(normal(copy)) !== JSON.stringify(normal(primitive))) t.deepEqual(normal(copy), normal(primitive), where);
    }
  }
  t.true(count > 2000, `${count} objects`);
});

test('every recorded object obeys its schema', (t) => {
  const names = new Set<string>();
  for (const [where, body] of sources) {
    for (const primitive of primitives(body)) {
      names.add(primitive['nova_object.name']);
      t.notThrows(() => validateObject(primitive), where);
    }
  }
  t.true(names.size > 40, [...names].join(' '));
});
