/** One round of pre-copy, as far as the service goes: what it tells the runtime, and when it tries again. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { HaulierError } from '../../../src/base/errors.js';
import { checkpointPaths, type CheckpointPaths } from '../../../src/container/checkpoint/paths.js';
import { writeMessage } from '../../../src/container/checkpoint/protobuf.js';
import type { HostParts } from '../../../src/container/parts.js';
import { aheadFolder, preDump } from '../../../src/haul/memory/ahead.js';

const never = new AbortController().signal;
const unseizable = '(00.012345) Error (criu/seize.c:1089): Unseizable non-zombie 4711 found, state D, err -1, ppid 4700\n(00.012400) Error (criu/cr-dump.c:2111): Pre-dumping FAILED.\n';

/** `stats-dump` of criu. */
function stats(pages: number): Buffer {
  const message = writeMessage([1, writeMessage([7, pages])]);
  const head = Buffer.alloc(12);
  [0x5510_5940, 0x5709_3306, message.length].forEach((word, at) => head.writeUInt32LE(word, 4 * at));
  return Buffer.concat([head, message]);
}

interface Scene { readonly paths: CheckpointPaths; readonly calls: string[][]; run(round: number): Promise<number> }

/** A runtime that does these things, one a call: a log means that it fails with it, a number that criu writes so many pages (undefined: does not say how many). */
function scene(t: ExecutionContext, ...does: readonly (string | number | undefined)[]): Scene {
  const folder = mkdtempSync(join(tmpdir(), 'ahead-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const paths = checkpointPaths({ folder });
  mkdirSync(paths.work, { recursive: true });
  const calls: string[][] = [];
  const checkpoint = async (_: string, options: readonly string[]): Promise<void> => {
    const images = options[options.indexOf('--image-path') + 1]!;
    t.deepEqual(readdirSync(images), [], 'nothing of an earlier try is there');
    const what = does[calls.length];
    calls.push([...options]);
    writeFileSync(join(images, 'pages-1.img'), 'half');
    writeFileSync(paths.dumpLog, typeof what === 'string' ? what : '(00.1) Pre-dumping finished successfully\n');
    if (typeof what === 'string') throw new HaulierError('RUNTIME_FAILED', { action: 'checkpoint the container', reason: 'criu failed' });
    if (what !== undefined) writeFileSync(join(paths.work, 'stats-dump'), stats(what));
  };
  return { paths, calls, run: (round) => preDump({ runc: { checkpoint } } as unknown as Pick<HostParts, 'runc'>, 'some', paths, round, never) };
}

test('it says how many pages were written, and looks at the round before only from the second on', async (t) => {
  const { paths, calls, run } = scene(t, 8400, 31);
  t.is(await run(1), 8400);
  t.is(await run(2), 31);
  t.false(calls[0]!.includes('--parent-path'));
  t.is(calls[1]![calls[1]!.indexOf('--parent-path') + 1], '../ahead-1');
  for (const round of [1, 2]) t.true(existsSync(join(aheadFolder(paths, round), 'pages-1.img')));
});

test('a process that waited for a disk: it is tried once more, from the beginning', async (t) => {
  const { calls, run } = scene(t, unseizable, 17);
  t.is(await run(3), 17);
  t.is(calls.length, 2);
  t.deepEqual(calls[0], calls[1]);
});

test('if it waits again, the round has failed', async (t) => {
  const { calls, run } = scene(t, unseizable, unseizable, 17);
  await t.throwsAsync(run(1), { code: 'SUSPEND_FAILED', message: /Unseizable non-zombie 4711 found, state D/ });
  t.is(calls.length, 2);
});

test('what else fails is not tried again: criu may have called pages clean by then', async (t) => {
  const { calls, run } = scene(t, "(00.2) Error (criu/page-xfer.c:1): page-xfer: Unable to splice data: File too large\n", 17);
  await t.throwsAsync(run(2), { code: 'SUSPEND_FAILED', message: /File too large/ });
  t.is(calls.length, 1);
});

test('a round of which criu does not say what it wrote has failed, whatever it said of the one before', async (t) => {
  const { run } = scene(t, 5, undefined);
  t.is(await run(1), 5);
  await t.throwsAsync(run(2), { code: 'SUSPEND_FAILED', message: /says nothing of what it wrote/ });
});
