import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { appendFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { memoryFolder } from '../../../src/haul/live/memory.js';
import { receiveImages, sendImages, sendRuntimeImage, without } from '../../../src/haul/live/memory-images.js';
import { PagesAhead } from '../../../src/haul/live/pages-ahead.js';
import { HaulChannel } from '../../../src/haul/wire/channel.js';
import { silentLog } from '../../../src/base/log.js';

interface Ends { readonly here: HaulChannel; readonly there: HaulChannel; readonly from: string; readonly to: string }

async function ends(t: ExecutionContext): Promise<Ends> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect((server.address() as { port: number }).port, '127.0.0.1');
  const [socket] = (await once(server, 'connection')) as [Socket];
  const folder = mkdtempSync(join(tmpdir(), 'images-'));
  const [from, to] = [join(folder, 'from'), join(folder, 'to')];
  for (const each of [from, to]) mkdirSync(each);
  const [here, there] = [new HaulChannel(client, 'client'), new HaulChannel(socket, 'server')];
  t.teardown(async () => {
    here.abort(new Error('over'));
    there.abort(new Error('over'));
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return { here, there, from, to };
}

const never = new AbortController().signal;
const sizes = (folder: string): Record<string, number> => Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name)).length]));

test('memory that grows while it is sent arrives whole, beside images that are there before and after it', async (t) => {
  const { here, there, from, to } = await ends(t);
  let first = false;
  const received = receiveImages(there, to, undefined, () => { first = true; });
  writeFileSync(join(from, 'descriptors.json'), '[]');
  const gone = await sendRuntimeImage(here, from);
  const ahead = new PagesAhead(here, from, never, () => undefined);
  for (const file of ['pages-1.img', 'pages-2.img', 'pages-11.img']) {
    for (let piece = 0; piece < 5; piece++) {
      appendFileSync(join(from, file), randomBytes(300_001));
      await sleep(3);
    }
  }
  writeFileSync(join(from, 'inventory.img'), randomBytes(50));
  writeFileSync(join(from, 'large.img'), randomBytes(100_000));
  const rest = without(await ahead.end(sizes(from)), gone);
  t.deepEqual(Object.keys(rest).sort(), ['inventory.img', 'large.img']);
  await sendImages(here, from, rest);
  await received;
  t.true(first);
  t.deepEqual(readdirSync(to).sort(), readdirSync(from).sort());
  for (const name of readdirSync(from)) t.true(readFileSync(join(to, name)).equals(readFileSync(join(from, name))), name);
});

test('a file that criu wrote to after it had begun another one is noticed', async (t) => {
  const { here, there, from, to } = await ends(t);
  const received = receiveImages(there, to);
  received.catch(() => undefined);
  writeFileSync(join(from, 'pages-1.img'), 'one');
  writeFileSync(join(from, 'pages-2.img'), 'two');
  const ahead = new PagesAhead(here, from, never, () => undefined);
  while (!readdirSync(to).includes('pages-2.img')) await sleep(2);
  appendFileSync(join(from, 'pages-1.img'), 'more');
  await t.throwsAsync(ahead.end(sizes(from)), { code: 'HAUL_DAMAGED', message: /pages-1\.img/ });
});

test('a dump that fails ends the sending', async (t) => {
  const { here, there, from, to } = await ends(t);
  const received = receiveImages(there, to);
  writeFileSync(join(from, 'pages-1.img'), 'one');
  const ahead = new PagesAhead(here, from, never, () => undefined);
  while (readdirSync(to).length === 0) await sleep(2);
  await ahead.giveUp(new Error('criu has failed'));
  await t.throwsAsync(received, { message: /criu has failed/ });
});

test('images lie in memory but for pre-copy, and where the size of the memory is not known', (t) => {
  const log = silentLog();
  t.is(memoryFolder('pre-copy', 5, 0, log), undefined);
  t.is(memoryFolder('stop-and-copy', undefined, NaN, log), undefined);
  const bytes = memoryFolder('stop-and-copy', 1e9, 1e9, log)?.bytes ?? 0;
  t.true(bytes >= 2e9);
  t.true((memoryFolder('post-copy', 1e9, 1e9, log)?.bytes ?? 0) < bytes - 5e8);
});
