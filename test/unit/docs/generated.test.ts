/** The pages in docs/ that are generated: rendered anew and compared. `HAULIER_UPDATE=1 npm run unit` writes them. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { errorTable } from '../../../src/base/errors.js';
import { packageRoot } from '../../../src/base/package-root.js';
import { methodTable, type Method } from '../../../src/compute/method-table.js';

const source = JSON.parse(readFileSync(join(packageRoot, 'schemas/source/compute-rpc-6.x.json'), 'utf8')) as { methods: Record<string, { kind: string; reverts_task_state?: boolean; instance_action_event?: boolean; instance_fault?: boolean }> };

function answer(method: Method): string {
  if (method.does.state === 'done') return '';
  const name = method.does.error ? `${method.does.error.class} (${method.does.error.code})` : 'NotImplementedError';
  return method.does.repair ? `${name}; ${method.does.repair}` : name;
}

function methodsPage(): string {
  const rows = Object.entries(methodTable).map(([name, method]) => `| \`${name}\` | ${method.since} | ${method.kind} | ${method.wrappers.join('') || '-'} | ${method.does.state} | ${answer(method)} |`);
  const count = (state: string): number => Object.values(methodTable).filter((method) => method.does.state === state).length;
  return `# RPC methods of compute 6.x

Generated from \`src/compute/method-table.ts\`. ${count('done')} done, ${count('not yet')} not yet, ${count('unsupported')} unsupported.

Wrappers: T clears the task state on failure, E writes an action event, F a fault, M sets the migration to error. A method that is not
done is answered with the exception named, writes event and fault, clears the task state, and takes back what its sender prepared; the
server stays as it was.

| method | since | kind | wrappers | state | answer where not done |
|---|---|---|---|---|---|
${rows.join('\n')}
`;
}

function errorsPage(): string {
  const rows = Object.entries(errorTable).map(([code, row]) => `| \`${code}\` | ${row.message.replaceAll('|', '\\|')} | ${row.nova.class} (${row.nova.code}) | ${row.advice.replaceAll('|', '\\|')} |`);
  return `# Errors

Generated from \`src/base/errors.ts\`. The message is what a fault shows; the exception is what Nova gets.

| code | message | exception | what to do |
|---|---|---|---|
${rows.join('\n')}
`;
}

for (const [file, render] of [['docs/rpc-methods.md', methodsPage], ['docs/errors.md', errorsPage]] as const) {
  test(`${file} is what the code generates`, (t) => {
    const path = join(packageRoot, file);
    if (process.env['HAULIER_UPDATE']) writeFileSync(path, render());
    t.is(readFileSync(path, 'utf8'), render());
  });
}

test('the method table has exactly the methods of compute 6.x', (t) => {
  t.deepEqual(Object.keys(methodTable).sort(), Object.keys(source.methods).sort());
});

test('every wrapper that Nova has on a method is there', (t) => {
  for (const [name, method] of Object.entries(methodTable)) {
    const nova = source.methods[name]!; // the source leaves a flag out where it could not read the decorators
    if (nova.reverts_task_state) t.true(method.wrappers.includes('T'), `${name} T`);
    // the event of a build is written by the build itself, under its inner name
    if (nova.instance_action_event) t.true(method.wrappers.includes('E'), `${name} E`);
    if (nova.instance_fault) t.true(method.wrappers.includes('F'), `${name} F`);
  }
});
