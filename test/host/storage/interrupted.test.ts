import test from 'ava';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isHaulierError } from '../../../src/base/errors.js';
import { run } from '../../../src/base/run.js';
import { bench, chunks, guestTar, handmadeTar, missing, operation, source } from './helper.js';

const why = missing();
const host = why === undefined ? test : test.skip;
let guest: Buffer;
test.before(async () => { if (why === undefined) guest = await guestTar(); });

/** A source that gives half of the bytes and then waits until `go` resolves. */
function halting(id: string, bytes: Buffer, go: Promise<void>): { image: ReturnType<typeof source>; half: Promise<void>; opened: () => number; destroyed: () => boolean } {
  let reached: () => void = () => undefined;
  const half = new Promise<void>((resolve) => { reached = resolve; });
  let count = 0;
  let stream: Readable | undefined;
  async function* slowly(): AsyncGenerator<Buffer> {
    let sent = 0;
    for (const chunk of chunks(bytes)) {
      if (sent >= bytes.length / 2) { reached(); await go; }
      sent += chunk.length;
      yield chunk;
    }
  }
  const image = source(id, bytes, { open: () => { count++; stream = Readable.from(slowly()); return Promise.resolve(stream); } });
  return { image, half, opened: () => count, destroyed: () => stream?.destroyed ?? false };
}
const never = new Promise<void>(() => undefined);
const outcome = (work: Promise<unknown>): Promise<unknown> => work.then((value) => value, (error: unknown) => error);

host('an abort in the middle leaves nothing and closes the download', async (t) => {
  const b = await bench();
  try {
    const { image, half, destroyed } = halting('img', guest, never);
    const op = operation();
    const work = outcome(b.images.ensure(image, op));
    await half;
    t.true((op.progress ?? 0) > 0.3);
    const reason = new Error('enough');
    op.abort(reason);
    t.is(await work, reason);
    t.true(destroyed());
    t.deepEqual(await b.leftovers(), []);
  } finally {
    await b.close();
  }
});

host('one of several callers aborts: the others get the image of the one download', async (t) => {
  const b = await bench();
  try {
    let go: () => void = () => undefined;
    const { image, half, opened } = halting('img', guest, new Promise((resolve) => { go = resolve; }));
    const [first, second, third] = [operation(), operation(), operation()];
    const works = [first, second, third].map((op) => outcome(b.images.ensure(image, op)));
    await half;
    const reason = new Error('enough');
    first.abort(reason);
    t.is(await works[0], reason);
    go();
    t.deepEqual(await Promise.all(works.slice(1)), [false, false]);
    t.is(opened(), 1);
    t.deepEqual(await b.leftovers('img-'), []);
  } finally {
    await b.close();
  }
});

host('all abort, the next caller starts anew', async (t) => {
  const b = await bench();
  try {
    const slow = halting('img', guest, never);
    const ops = [operation(), operation()];
    const works = ops.map((op) => outcome(b.images.ensure(slow.image, op)));
    await slow.half;
    for (const op of ops) op.abort(new Error('enough'));
    await new Promise((resolve) => { setImmediate(resolve); }); // given up by now, but not cleaned up
    t.false(await b.images.ensure(source('img', guest), operation()));
    await Promise.all(works);
    t.deepEqual(await b.leftovers('img-'), []);
  } finally {
    await b.close();
  }
});

host('an error of the download goes to the caller as it is', async (t) => {
  const b = await bench();
  try {
    const problem = new Error('glance went away');
    async function* breaking(): AsyncGenerator<Buffer> {
      let sent = 0;
      for (const chunk of chunks(guest)) {
        if ((sent += chunk.length) > guest.length / 2) { await sleep(10); throw problem; }
        yield chunk;
      }
    }
    t.is(await outcome(b.images.ensure(source('a', guest, { open: () => Promise.resolve(Readable.from(breaking())) }), operation())), problem);
    const wire = new PassThrough();
    const work = outcome(b.images.ensure(source('b', guest, { open: () => Promise.resolve(wire) }), operation()));
    wire.write(guest.subarray(0, 1_000_000));
    await sleep(100);
    wire.destroy();
    const error = await work;
    t.regex(isHaulierError(error, 'IMAGE_UNACCEPTABLE') ? error.message : String(error), /download broke off after \d+ of \d+ bytes/);
    t.is(await outcome(b.images.ensure(source('c', guest, { open: () => Promise.reject(problem) }), operation())), problem);
    t.deepEqual(await b.leftovers(), []);
  } finally {
    await b.close();
  }
});

host('a source that stalls after tar has given up is closed', async (t) => {
  const b = await bench({ maxBytes: 1 << 20 });
  try {
    const wire = new PassThrough();
    const work = outcome(b.images.ensure(source('s', Buffer.alloc(0), { size: undefined, checksum: undefined, open: () => Promise.resolve(wire) }), operation()));
    const sparse = (await run('bash', ['-c', 'd=$(mktemp -d); cd $d; truncate -s 1T f; tar -Scf - f | base64; rm -rf $d'])).stdout;
    wire.write(Buffer.concat([Buffer.from(sparse, 'base64').subarray(0, 1536), Buffer.alloc(100_000, 1)]));
    t.true(isHaulierError(await work, 'IMAGE_UNACCEPTABLE'));
    t.true(wire.destroyed);
    t.deepEqual(await b.leftovers(), []);
  } finally {
    await b.close();
  }
});

host('kill -9 in the middle: the jailed tools die with the service, the next start cleans up', async (t) => {
  const b = await bench();
  try {
    const file = join(b.dir, 'image.tar');
    await writeFile(file, guest);
    for (const [fault, expected] of [['', /^\.tmp-img-/], ['kill:image.unpacked', /^\.tmp-img-/], ['kill:image.renamed', /^img-/]] as const) {
      const child = spawn(process.execPath, [fileURLToPath(new URL('./killed-download.js', import.meta.url)), b.dir, file, fault === '' ? 'halt' : 'go'], { env: { ...process.env, HAULIER_FAULT: fault }, stdio: ['ignore', 'pipe', 'inherit'] });
      if (fault === '') {
        await once(child.stdout, 'data');
        child.kill('SIGKILL');
      }
      await once(child, 'exit');
      t.is(child.signalCode, 'SIGKILL');
      await sleep(100);
      t.is((await run('pgrep', ['-f', '[-]-delay-directory-restore'], { okCodes: [0, 1] })).stdout, '', 'tar has died');
      const names = readdirSync(b.images.path);
      t.is(names.length, 1);
      t.regex(names[0] ?? '', expected);
      await b.images.start();
      if (fault === 'kill:image.renamed') t.true(await b.images.ensure(source('img', guest), operation()));
      else t.deepEqual(readdirSync(b.images.path), []);
    }
  } finally {
    await b.close();
  }
});

host('a full disk is said so and cleaned up', async (t) => {
  const outer = await bench();
  const disk = join(outer.dir, 'small.img');
  const at = join(outer.dir, 'small');
  try {
    await mkdir(at);
    await run('sh', ['-c', `truncate -s 40M ${disk}; mkfs.ext4 -q -F -m 0 ${disk}; mount -o loop ${disk} ${at}`]);
    const b = await bench({ dir: at });
    const big = handmadeTar({ name: 'a', data: 'x'.repeat(30 << 20) }, { name: 'b', data: 'y'.repeat(30 << 20) });
    const error = await outcome(b.images.ensure(source('big', big), operation()));
    t.true(isHaulierError(error, 'DISK_FULL'), String(error));
    t.deepEqual(readdirSync(b.images.path), []);
    await b.images.ensure(source('fits', handmadeTar({ name: 'x', data: 'x' })), operation());
    const instance = await b.instance('one');
    await run('sh', ['-c', `dd if=/dev/zero of=${at}/fill bs=1M; sync ${at}/fill`], { okCodes: [0, 1] });
    const op = operation();
    const failed = await outcome(op.run(() => b.rootFs.prepare(instance, 'fits', 1, op)));
    t.true(isHaulierError(failed, 'DISK_FULL'), String(failed));
    t.deepEqual(readdirSync(instance), []);
    t.deepEqual(await b.leftovers('fits-'), []);
  } finally {
    await run('umount', [at], { okCodes: [0, 32] });
    t.deepEqual(await outer.leftovers(), []);
    await outer.close();
  }
});
