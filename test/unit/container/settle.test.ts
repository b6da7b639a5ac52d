/** What SIGKILL does not end is waited for, but not for ever. The signal is taken away from this whole process for it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { settle } from '../../../src/container/checkpoint/in-flight.js';

test.serial('what survives SIGKILL is an error, and no endless wait', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'haulier-settle-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const child = spawn('sleep', ['600'], { cwd: folder });
  await once(child, 'spawn');
  const { kill } = process;
  process.kill = () => true;
  try {
    await t.throwsAsync(settle(folder, 0, undefined, 0, 30), { code: 'RUNTIME_FAILED', message: new RegExp(String(child.pid)) });
  } finally {
    process.kill = kill;
  }
  await settle(folder, 0, undefined, 0);
  t.is(child.signalCode ?? (await once(child, 'exit'))[1], 'SIGKILL');
});
