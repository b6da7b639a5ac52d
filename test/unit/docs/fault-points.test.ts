/** Every named step of the service at which a test can make it die is in a list, and a test of a real host or cloud runs over each list: no new step is forgotten. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import test from 'ava';
import { packageRoot } from '../../../src/base/package-root.js';

/** Lists whose steps the tests name one by one. */
const namedOneByOne: ReadonlySet<string> = new Set([
  'resizeFaultPoints', // test/cloud/5-moves.test.ts: what is to come of each is another thing, and lies at another host
  'memorySteps', // test/host/haul/post-copy-fault.test.ts: they are of modes that not every haul has
  'restartSteps', // test/host/haul/restart.test.ts, likewise
  'liveSourceFaultPoints', 'liveDestinationFaultPoints', // test/cloud/5-live.test.ts: at which host it ends is another thing for each
  'moveFaultPoints', // test/host/container/moves.test.ts, likewise
]);

const files = (folder: string): string[] => readdirSync(join(packageRoot, folder), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts')).map((name) => join(folder, name));
const read = (file: string): string => readFileSync(join(packageRoot, file), 'utf8');
const sources = files('src').map((file) => ({ file, text: read(file) }));
const realTests = [...files('test/host'), ...files('test/cloud')].map(read);

/** The steps that the code passes: arguments of `faultPoint`, and of the functions that begin a step with one. */
const passed = sources.flatMap(({ file, text }) => [...text.matchAll(/\b(?:faultPoint|beginStep|cleanupStep|haulStep|haulPoint|\w+Step)\(([^;\n]*)/g)]
  .flatMap(([, args = '']) => [...args.matchAll(/'([a-z-]+(?:\.[a-z-]+)+)'/g)].map(([, name = '']) => ({ file, name }))));

const lists = await Promise.all(sources.flatMap(({ file, text }) => [...text.matchAll(/^export const (\w+(?:FaultPoints|Steps)) = \[/gm)].map(async ([, name = '']) => {
  const module = (await import(pathToFileURL(join(packageRoot, 'dist', file.replace(/\.ts$/, '.js'))).href)) as Record<string, readonly string[]>;
  return { file, name, points: module[name] ?? [] };
})));

test('every step that the code passes is in a list, once', (t) => {
  t.true(passed.length > 100 && lists.length >= 20, `${passed.length} steps, ${lists.length} lists`);
  const listed = lists.flatMap(({ points }) => points);
  t.deepEqual(listed.filter((point, index) => listed.indexOf(point) !== index), [], 'in two lists');
  t.deepEqual(passed.filter(({ name }) => !listed.includes(name)), [], 'in no list');
});

test('every step of a list is passed somewhere', (t) => {
  const names = new Set(passed.map(({ name }) => name));
  // `haul.source.${phase}`: its last word stands elsewhere, as a phase
  const built = sources.flatMap(({ text }) => [...text.matchAll(/Step\([^;\n]*`([a-z.]+\.)\$\{\w+\}`/g)].map(([, prefix = '']) => prefix));
  const isBuilt = (point: string): boolean => built.some((prefix) => point.startsWith(prefix) && sources.some(({ text }) => text.includes(`'${point.slice(prefix.length)}'`)));
  for (const { name, points } of lists) t.deepEqual(points.filter((point) => !names.has(point) && !isBuilt(point)), [], name);
});

test('a test of a real host or cloud runs over every list', (t) => {
  for (const { file, name, points } of lists) {
    if (namedOneByOne.has(name)) continue;
    const over = new RegExp(`\\.\\.\\.${name}\\b|\\bof ${name}\\b|\\b${name}\\.(?:filter|forEach|map|slice)\\(|= ${name};`);
    t.true(realTests.some((text) => over.test(text)), `${name} of ${file} (${points.length} steps)`);
  }
});
