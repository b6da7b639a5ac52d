import test from 'ava';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { templateCommands } from '../../../src/cli/template.js';
import { HaulierError } from '../../../src/base/errors.js';
import { silentLog } from '../../../src/base/log.js';
import { Operation } from '../../../src/base/operation.js';
import { callService, NoService, startControl } from '../../../src/http/control.js';

test('commands reach the service over a socket that only root can open; what it says comes back', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'control-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const runPath = join(folder, 'run', 'haulier'); // not there yet
  await t.throwsAsync(callService(runPath, 'template-mark', { id: 'a' }), { instanceOf: NoService });
  const asked: string[] = [];
  const control = await startControl(runPath, templateCommands({
    markTemplate: async (id) => {
      if (id === 'none') throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
      return 7;
    },
    captureTemplate: async (id, file, keep) => ({ file, bytes: 1, sha256: '', changed: keep.length, removed: 0, base: id, below: [] }),
  }, async (id, name, work) => {
    asked.push(`${name} ${id}`);
    return await work(new Operation({ name, log: silentLog() }));
  }), silentLog());
  try {
    t.is((await stat(join(runPath, 'control.sock'))).mode & 0o777, 0o600);
    t.is(await callService(runPath, 'template-mark', { id: 'a' }), 7);
    t.like(await callService(runPath, 'template-capture', { id: 'a', file: '/f', keep: ['x'] }), { file: '/f', changed: 1, base: 'a' });
    t.deepEqual(asked, ['template_mark a', 'template_capture a']);
    await t.throwsAsync(callService(runPath, 'template-mark', { id: 'none' }), { message: /Instance none could not be found/ });
    await t.throwsAsync(callService(runPath, 'template-mark', {}), { message: /argument id: is missing/ });
    await t.throwsAsync(callService(runPath, 'template-capture', { id: 'a', file: 'relative' }), { message: /is not absolute/ });
    await t.throwsAsync(callService(runPath, 'else', {}), { message: /no command else/ });
  } finally {
    await control.close();
  }
});
