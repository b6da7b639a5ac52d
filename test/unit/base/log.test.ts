/** The log: where it goes, how it reads. */
import { mkdtemp, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import test from 'ava';
import { defaultConfig } from '../../../src/base/config/load.js';
import { createLog, maskSecrets } from '../../../src/base/log.js';
import { LogFile, type LogHandle } from '../../../src/base/log-file.js';
import { Operation } from '../../../src/base/operation.js';
import { prettyLine } from '../../../src/base/pretty.js';
import { openLog } from '../../../src/cli/serve.js';

test('records carry the request and the instance; on a terminal they are lines for people that cannot command it', (t) => {
  const out = new PassThrough().setEncoding('utf8');
  const also = new PassThrough().setEncoding('utf8');
  const log = createLog({ out, pretty: true, also });
  new Operation({ name: 'stop_instance', log, requestId: 'req-1', instance: 'uuid-1' }).log.info({ seconds: 3, password: 'x' }, 'stopped \x1b[2J');
  log.debug('not at this level');
  const record = JSON.parse(String(also.read())) as Record<string, unknown>;
  t.like(record, { req: 'req-1', instance: 'uuid-1', op: 'stop_instance', msg: 'stopped \x1b[2J', seconds: 3, password: '***', level: 30 });
  const line = String(out.read());
  t.true(line.includes(' [req-1 stop_instance uuid-1] stopped ?[2J (seconds=3 password=***)\n'), line);
  t.is(prettyLine({ level: 50, time: '2026-01-02T03:04:05.678Z', msg: 'failed', err: { stack: 'Error: no\n    at x' } }, false), '2026-01-02 03:04:05.678 ERROR failed\nError: no\n    at x\n');
});

test('what lies too deep to be looked into is not written', (t) => {
  const deep = (levels: number): unknown => (levels === 0 ? { password: 'x', n: 1 } : { in: deep(levels - 1) });
  t.true(JSON.stringify(maskSecrets(deep(6))).includes('{"password":"***","n":1}'));
  t.regex(JSON.stringify(maskSecrets(deep(7))), /"in":"…"/);
  t.notRegex(JSON.stringify(maskSecrets(deep(20))), /password/);
});

test('a log that cannot be written costs records, not the service; it goes on when it can', async (t) => {
  let full = false;
  let opened = 0;
  const written: string[] = [];
  const same = { dev: 1, ino: 1 };
  const open = async (): Promise<LogHandle> => {
    opened++;
    return { appendFile: async (data: unknown) => { if (full) throw Object.assign(new Error('no space left'), { code: 'ENOSPC' }); written.push(String(data)); }, close: async () => undefined, stat: async () => same } as unknown as LogHandle;
  };
  const out = await LogFile.open('/log', { open, stat: async () => same }, 0);
  out.on('error', () => t.fail());
  const say = async (text: string): Promise<void> => await new Promise((resolve) => { out.write(text, () => resolve()); });
  await say('a');
  full = true;
  await say('b');
  await say('c');
  full = false;
  await say('d');
  t.deepEqual(written, ['a', 'd']);
  t.is(opened, 3);
  await t.throwsAsync(LogFile.open('/none/at/all'), { code: 'ENOENT' });
});

test('a rotated log: moved, removed, cut off, or told to; where no new one can be made the records wait for one', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'log-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const [path, old] = [join(folder, 'log'), join(folder, 'log.1')];
  const out = await LogFile.open(path, undefined, 0);
  const say = async (text: string): Promise<void> => await new Promise((resolve) => { out.write(text, () => resolve()); });
  const read = (file: string): Promise<string> => readFile(file, 'utf8');
  await say('1');
  await rename(path, old);
  await say('2');
  t.deepEqual([await read(old), await read(path)], ['1', '2'], 'moved');
  await rm(path);
  await say('3');
  t.is(await read(path), '3', 'removed');
  await truncate(path);
  await say('4');
  t.is(await read(path), '4', 'cut off: nothing is written where it was before');
  await writeFile(join(folder, 'other'), '');
  await rename(join(folder, 'other'), path);
  await say('5');
  t.is(await read(path), '5', 'another file in its place');
  out.reopen();
  await say('6');
  t.is(await read(path), '56');
  await rename(folder, `${folder}.away`);
  await say('lost');
  await rename(`${folder}.away`, folder);
  await say('7');
  t.is(await read(path), '567');
});

test('log_dir and log_file, debug', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'log-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const { log } = await openLog(defaultConfig({ DEFAULT: { log_dir: join(folder, 'made'), log_file: 'haulier.log', debug: 'true' } }));
  log.debug({ n: 1 }, 'said');
  const text = async (): Promise<string> => await readFile(join(folder, 'made/haulier.log'), 'utf8').catch(() => '');
  while (!(await text()).endsWith('\n')) await new Promise((resolve) => { setTimeout(resolve, 20); });
  t.like(JSON.parse(await text()), { n: 1, msg: 'said', level: 20 });
});
