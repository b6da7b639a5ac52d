/** Interactive consoles of real containers: several sessions, window size, the log beside them, suspend and resume, the TCP port. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import anyTest, { type TestFn } from 'ava';
import { openConsole, resizeConsole, type ConsoleLine } from '../../../src/container/console-line.js';
import { criuProblem } from './checkpoint-kit.js';
import { inside, makeBed, makeSpec, operate, until, type Bed } from './harness.js';

const problem = await criuProblem();
const test = anyTest as TestFn<{ bed: Bed }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/console: ${problem}\n`);

test.before(async (t) => {
  if (problem === undefined) t.context.bed = await makeBed({ serial: { address: '127.0.0.1', first: 10_000, end: 10_010 } });
});
test.after.always(async (t) => { await t.context.bed?.end(); });

/** A container with a shell on its console. */
async function boot(bed: Bed): Promise<string> {
  const spec = makeSpec(bed.image, { init: ['/bin/sh', '-i'] });
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  return spec.id;
}

const destroy = (bed: Bed, id: string): Promise<void> => operate((operation) => bed.host.destroy(id, operation));

/** The end of a connection, clean or not. */
const over = (socket: Socket): Promise<void> => new Promise((resolve) => void socket.on('error', () => undefined).once('close', () => resolve()));

/** All that a session has shown, as it grows. */
function seen(line: ConsoleLine): () => string {
  let text = '';
  line.output.on('data', (chunk: Buffer) => { text += chunk.toString(); });
  return () => text;
}

real('two sessions type and see the same; the log has it too; the window has a size', async (t) => {
  const { bed } = t.context;
  const id = await boot(bed);
  const { store } = bed.host.parts;
  const [one, two] = [await openConsole(store, id), await openConsole(store, id)];
  const [first, second] = [seen(one), seen(two)];
  // the shell may not have come to its prompt, or conmon not to the second session: asks until both show it
  await until('both see what the first types', () => { one.input.write('echo $((6*7))-one\n'); return first().includes('42-one') && second().includes('42-one'); });
  two.input.write('echo $((6*7))-two\n');
  await until('both see what the second types', () => first().includes('42-two') && second().includes('42-two'));
  await resizeConsole(store, id, { rows: 43, columns: 117 });
  await until('the guest knows the size', () => { one.input.write('stty size\n'); return first().includes('43 117'); });
  t.true((await bed.host.consoleLog(id, undefined)).includes('42-two'));
  one.end();
  await one.ended;
  two.input.write('echo $((6*7))-alone\n');
  await until('the other goes on', () => second().includes('42-alone'));
  t.false(first().includes('42-alone'));
  await operate((operation) => bed.host.stopContainer(id, { timeoutMs: 0, retryMs: 0 }, operation));
  await two.ended;
  await t.throwsAsync(openConsole(store, id), { code: 'INSTANCE_STATE' });
  await resizeConsole(store, id, { rows: 1, columns: 1 }); // of what does not run: nothing
  await destroy(bed, id);
});

real('a session that nobody reads holds up neither the guest nor the log nor the other session', async (t) => {
  const { bed } = t.context;
  const id = await boot(bed);
  const { store } = bed.host.parts;
  const [stuck, reader] = [await openConsole(store, id), await openConsole(store, id)];
  const shown = seen(reader);
  await until('the shell answers', () => { reader.input.write('echo $((6*7))-ready\n'); return shown().includes('42-ready'); });
  reader.input.write('i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line-$i-of-a-flood-that-fills-every-buffer-on-its-way; done; echo $((6*7))-over\n');
  await until('the flood is over in the log', async () => (await bed.host.consoleLog(id, 5)).includes('42-over'), 120_000);
  await until('and for who reads', () => shown().includes('42-over'), 60_000);
  t.true(shown().includes('line-19999-'));
  stuck.end();
  reader.end();
  await destroy(bed, id);
});

real('suspend ends the sessions; after the resume the same shell is on the console, and the log goes on', async (t) => {
  const { bed } = t.context;
  const id = await boot(bed);
  const { store } = bed.host.parts;
  const before = await openConsole(store, id);
  const shown = seen(before);
  await until('the shell answers', () => { before.input.write('word=kept; echo $((6*7))-ready\n'); return shown().includes('42-ready'); });
  await operate((operation) => bed.host.suspend(id, operation));
  await before.ended;
  await operate((operation) => bed.host.resume(id, operation));
  const after = await openConsole(store, id);
  const again = seen(after);
  await until('the shell remembers', () => { after.input.write('echo $((6*7))-$word\n'); return again().includes('42-kept'); });
  await resizeConsole(store, id, { rows: 30, columns: 99 });
  await until('the size is told', () => { after.input.write('stty size\n'); return again().includes('30 99'); });
  const log = await bed.host.consoleLog(id, undefined);
  t.true(log.includes('42-ready') && log.includes('42-kept'));
  t.is(await inside(bed, id, 'cat', '/proc/1/comm'), 'sh');
  after.end();
  await destroy(bed, id);
});

real('the TCP port: once for each validation, and gone with the container', async (t) => {
  const { bed } = t.context;
  const id = await boot(bed);
  const { serial } = bed.host;
  const port = await serial!.port(id);
  await over(connect(port, '127.0.0.1'));
  serial!.admit(id);
  const socket = connect(port, '127.0.0.1');
  let text = '';
  socket.on('data', (chunk: Buffer) => { text += chunk.toString(); });
  await until('the shell answers', () => { socket.write('echo $((6*7))-tcp\n'); return text.includes('42-tcp'); });
  const closed = over(socket);
  await destroy(bed, id);
  await closed;
  const refused = connect(port, '127.0.0.1');
  t.is((await once(refused, 'error') as unknown as NodeJS.ErrnoException[])[0]!.code, 'ECONNREFUSED');
});
