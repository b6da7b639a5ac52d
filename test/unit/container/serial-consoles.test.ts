/** TCP ports of serial consoles: who may connect, which port, what ends with what. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import test from 'ava';
import { createLog, silentLog } from '../../../src/base/log.js';
import type { ConsoleLine } from '../../../src/container/console-line.js';
import { SerialConsoles } from '../../../src/container/serial-consoles.js';
import { InstanceStore } from '../../../src/container/state.js';

const one = '11111111-1111-4111-8111-111111111111';
const two = '22222222-2222-4222-8222-222222222222';

/** The end of a connection, clean or not. */
const over = (socket: Socket): Promise<void> => new Promise((resolve) => { if (socket.closed) resolve(); else socket.once('close', () => resolve()); });

/** A line that answers what is typed, in capitals. */
function shouting(): ConsoleLine {
  const input = new PassThrough();
  const output = new PassThrough();
  input.on('data', (chunk: Buffer) => output.write(chunk.toString().toUpperCase()));
  const ended = once(output, 'close').then(() => undefined);
  return { input, output, ended, end: () => { output.end(); output.destroy(); } };
}

async function bed(first?: number, log = silentLog()): Promise<{ consoles: SerialConsoles; again: () => SerialConsoles; lines: ConsoleLine[]; first: number; end: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'serial-'));
  const store = new InstanceStore(join(folder, 'instances'), join(folder, 'run'));
  for (const id of [one, two]) {
    await mkdir(store.paths(id).folder, { recursive: true });
    await mkdir(store.paths(id).run, { recursive: true });
  }
  const lines: ConsoleLine[] = [];
  const from = first ?? await freePort();
  const make = (): SerialConsoles => new SerialConsoles({ address: '127.0.0.1', first: from, end: from + 2 }, store, async () => { const line = shouting(); lines.push(line); return line; }, log);
  const consoles = make();
  return { consoles, again: make, lines, first: from, end: async () => { consoles.closeAll(); await rm(folder, { recursive: true }); } };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return Math.min(port, 65_000);
}

async function dial(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

test.serial('a connection is taken once for each validation, and any number may be open', async (t) => {
  const { consoles, lines, end } = await bed();
  const port = await consoles.port(one);
  t.is(await consoles.port(one), port);
  const stranger = await dial(port);
  await over(stranger);
  t.is(lines.length, 0, 'nothing was opened for a stranger');
  consoles.admit(one);
  consoles.admit(one);
  for (const word of ['hello', 'there']) {
    const socket = await dial(port);
    socket.write(word);
    t.is(String((await once(socket, 'data'))[0]), word.toUpperCase());
  }
  await over(await dial(port));
  t.is(lines.length, 2);
  consoles.admit(two); // has no port: nothing happens
  await end();
});

test.serial('the session ends with the line, the line with the session, both with the port', async (t) => {
  const { consoles, lines, end } = await bed();
  const port = await consoles.port(one);
  const session = async (): Promise<Socket> => {
    consoles.admit(one);
    const socket = await dial(port);
    socket.write('x');
    await once(socket, 'data');
    return socket;
  };
  const first = await session();
  lines[0]!.end();
  await over(first);
  (await session()).destroy();
  await lines[1]!.ended;
  const third = await session();
  consoles.close(one);
  await Promise.all([over(third), lines[2]!.ended]);
  const refused = connect(port, '127.0.0.1');
  t.is((await once(refused, 'error') as unknown as NodeJS.ErrnoException[])[0]!.code, 'ECONNREFUSED');
  await end();
});

test.serial('strangers do not fill the log', async (t) => {
  const out = new PassThrough().setEncoding('utf8');
  const { consoles, end } = await bed(undefined, createLog({ out }));
  const ports = [await consoles.port(one), await consoles.port(two)];
  for (const port of [...ports, ...ports, ...ports]) await over(await dial(port));
  t.deepEqual(String(out.read()).trim().split('\n').map((line) => (JSON.parse(line) as { instance: string }).instance), [one, two]);
  await end();
});

test.serial('ports: taken ones are passed over, none left is an error, after a restart it is the same', async (t) => {
  const { consoles, again, first, end } = await bed();
  const other = createServer().listen(first, '127.0.0.1');
  await once(other, 'listening');
  t.is(await consoles.port(one), first + 1);
  await t.throwsAsync(consoles.port(two), { code: 'SERIAL_PORTS_EXHAUSTED' });
  consoles.closeAll();
  await new Promise((resolve) => other.close(resolve));
  const next = again();
  t.is(await next.port(one), first + 1, 'the tokens that were given out name it');
  t.is(await next.port(two), first);
  next.closeAll();
  await end();
});
