import test from 'ava';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { generate } from '../../schemas/generate.js';
import { newestForm, objectSource } from '../../schemas/source.js';
import { packageRoot } from '../../src/base/package-root.js';
import { hasField, isRemotable, manifest, objectNames, objectVersion, releaseOf } from '../../src/nova/registry.js';
import type { Release } from '../../src/nova/types.js';

const root = join(packageRoot, 'schemas');
const source = objectSource();
const releases = source.releases as readonly Release[];

test('the committed schemas are what schemas/generate.ts makes', (t) => {
  const made = generate();
  for (const [path, text] of made) t.is(readFileSync(join(root, path), 'utf8'), text, `${path}: run node dist/schemas/generate.js`);
  for (const folder of ['objects', 'rpc']) for (const name of readdirSync(join(root, folder))) t.true(made.has(`${folder}/${name}`), `${folder}/${name} is left over`);
});

test('every schema is a valid one and compiles in strict mode', (t) => {
  const ajv = new Ajv2020({ strict: true, strictTypes: false, strictRequired: false, allowUnionTypes: true });
  const schemas = [...generate()].filter(([path]) => path !== 'registry.json').map(([, text]) => JSON.parse(text) as Record<string, unknown>);
  ajv.addSchema(schemas);
  for (const schema of schemas) t.notThrows(() => ajv.getSchema(String(schema['$id'])), String(schema['$id']));
});

test('the registry has the versions of all three releases', (t) => {
  t.deepEqual([...releases], ['zed', '2025.1', '2026.2']);
  t.deepEqual(objectNames().sort(), Object.keys(source.versions).sort());
  for (const [name, versions] of Object.entries(source.versions)) {
    for (const release of releases) {
      const version = versions[release] ?? null;
      if (version === null) t.throws(() => objectVersion(name, release), { code: 'UNSUPPORTED' });
      else t.is(objectVersion(name, release), version, `${name} ${release}`);
    }
  }
});

test('manifests are those of the real classes', (t) => {
  for (const [name, object] of Object.entries(source.objects)) {
    for (const [release, expected] of Object.entries(object.manifest)) t.deepEqual(manifest(name, release as Release), expected, `${name} ${release}`);
  }
});

test('remotable methods and fields of some releases are known', (t) => {
  for (const [name, object] of Object.entries(source.objects)) {
    for (const [method, entry] of Object.entries(object.remotable)) t.true(isRemotable(name, method, newestForm(entry)?.kind ?? 'class'), `${name}.${method}`);
    for (const [field, about] of Object.entries(object.fields)) {
      for (const release of releases) t.is(hasField(name, field, release), about.only_in?.includes(release) ?? true, `${name}.${field} ${release}`);
    }
  }
});

test('a service version maps to the nearest older release', (t) => {
  const expected: [number, Release][] = [[61, 'zed'], [64, 'zed'], [66, 'zed'], [67, 'zed'], [68, '2025.1'], [70, '2025.1'], [71, '2025.1'], [72, '2025.1'], [73, '2026.2'], [74, '2026.2'], [80, '2026.2']];
  for (const [version, release] of expected) t.is(releaseOf(version), release, String(version));
});
