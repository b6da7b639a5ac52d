import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import test, { type ExecutionContext } from 'ava';
import { CriuGate } from '../../../src/container/checkpoint/criu-gate.js';
import { availableBytes } from '../../../src/container/checkpoint/memory-folder.js';

const request = (type: number): Buffer => Buffer.from([0x08, type, 0x12, 0x00]);
const [dump, restore, version] = [1, 2, 10];

/** A folder, and a criu that writes its arguments and the request that it gets. */
function bed(t: ExecutionContext): { readonly work: string; readonly criu: string; readonly said: string } {
  const folder = mkdtempSync(join(tmpdir(), 'gate-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const [criu, said, work] = [join(folder, 'criu'), join(folder, 'said'), mkdtempSync(join(folder, 'work-'))];
  writeFileSync(criu, `#!/bin/sh\n[ -z "$HAULIER_GATE$HAULIER_CRIU" ] || exit 9\n{ echo "$@"; [ $# != 2 ] || head -c 4 <&"$2" | od -An -tx1; } >${said}\n`, { mode: 0o755 });
  return { work, criu, said };
}

/** As the runtime calls it: by its name in PATH. @returns exit code */
async function called(gate: CriuGate, args: readonly string[], asks?: Buffer): Promise<number> {
  const child = spawn('criu', args, { stdio: ['ignore', 'ignore', 'ignore', 'pipe'], env: { ...process.env, ...gate.environment } });
  child.stdio[3]?.on('error', () => undefined); // it may end with the request unread
  if (asks) (child.stdio[3] as Writable).write(asks);
  const [code] = (await once(child, 'exit')) as [number];
  child.stdio[3]?.destroy();
  return code;
}

test('what is no dump and no restore goes on at once', async (t) => {
  const { work, criu, said } = bed(t);
  const gate = await CriuGate.make(work, criu, { environment: process.env });
  t.is(await called(gate, ['--version']), 0);
  t.is(readFileSync(said, 'utf8'), '--version\n');
  t.is(await called(gate, ['swrk', '3'], request(version)), 0);
  t.is(readFileSync(said, 'utf8'), 'swrk 3\n 08 0a 12 00\n', 'and the request is still there');
  await gate.close();
  t.deepEqual(readdirSync(work), []);
});

for (const [name, type] of [['dump', dump], ['restore', restore]] as const) {
  test(`a ${name} waits until the gate is opened, and joins the group that it is told`, async (t) => {
    const { work, criu, said } = bed(t);
    const gate = await CriuGate.make(work, criu, { environment: process.env });
    const group = join(work, 'cgroup.procs');
    writeFileSync(group, '');
    const ended = called(gate, ['swrk', '3'], request(type));
    await gate.reached;
    t.false(existsSync(said));
    gate.open(group);
    t.is(await ended, 0);
    t.is(readFileSync(group, 'utf8'), '0');
    t.is(readFileSync(said, 'utf8'), `swrk 3\n 08 0${type} 12 00\n`);
    await gate.close();
  });
}

test('opened before criu comes: it does not wait', async (t) => {
  const { work, criu, said } = bed(t);
  const gate = await CriuGate.make(work, criu, { environment: process.env });
  gate.open();
  t.is(await called(gate, ['swrk', '3'], request(dump)), 0);
  t.true(existsSync(said));
  await gate.close();
});

test('given up: criu is not started, neither one that waits nor one that comes later', async (t) => {
  const { work, criu, said } = bed(t);
  const gate = await CriuGate.make(work, criu, { environment: process.env });
  const waits = called(gate, ['swrk', '3'], request(dump));
  await gate.reached;
  await gate.close();
  t.not(await waits, 0);
  const script = join(import.meta.dirname, '../../../../src/container/checkpoint/criu-gate.pl');
  const child = spawn(script, ['swrk', '3'], { stdio: ['ignore', 'ignore', 'ignore', 'pipe'], env: { ...process.env, ...gate.environment } });
  child.stdio[3]?.on('error', () => undefined);
  (child.stdio[3] as Writable).write(request(dump));
  t.not((await once(child, 'exit'))[0], 0);
  child.stdio[3]?.destroy();
  t.false(existsSync(said));
});

test('memory that a host can give', (t) => {
  t.is(availableBytes('MemTotal:       100 kB\nMemAvailable:    7 kB\n'), 7 * 1024);
  t.is(availableBytes(''), 0);
});
