/**
 * The service's side of commands that work on its containers: HTTP on a Unix socket in `run_path`, which only root can open. The command
 * line sends there what must be done by the one process that holds the host (`takeHost`).
 */
import { chmod, mkdir, rm } from 'node:fs/promises';
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { isHaulierError, messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';

/** Commands by name. What they give and take is JSON. */
export type Commands = Readonly<Record<string, (args: Readonly<Record<string, unknown>>) => Promise<unknown>>>;

/** Commands that go on telling until the caller hangs up (the signal aborts then): JSON, one value a line. */
export type Streams = Readonly<Record<string, (args: Readonly<Record<string, unknown>>, signal: AbortSignal) => AsyncIterable<unknown>>>;

const maxBytes = 64 * 1024;
const socketOf = (runPath: string): string => join(runPath, 'control.sock');

/** Listens; whoever holds the host may. @returns how to end it */
export async function startControl(runPath: string, commands: Commands, log: Log, streams: Streams = {}): Promise<{ close(): Promise<void> }> {
  const path = socketOf(runPath);
  await mkdir(runPath, { recursive: true, mode: 0o711 }); // the containers' side has not begun yet
  await rm(path, { force: true });
  const server: Server = createServer((incoming, response) => void answer(commands, streams, incoming, response, log));
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(path, resolve));
  await chmod(path, 0o600);
  return { close: () => new Promise((resolve) => { server.closeAllConnections(); server.close(() => resolve()); }) };
}

async function answer(commands: Commands, streams: Streams, incoming: IncomingMessage, response: ServerResponse, log: Log): Promise<void> {
  const reply = (status: number, body: unknown): void => void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  const name = incoming.url?.slice(1) ?? '';
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  const stream = Object.hasOwn(streams, name) ? streams[name] : undefined;
  if (incoming.method !== 'POST' || !(command ?? stream)) return reply(404, { error: `no command ${name}` });
  try {
    const args = JSON.parse(await read(incoming)) as Record<string, unknown>;
    if (command) return reply(200, { result: await command(args) });
    if (stream) await tell(response, (signal) => stream(args, signal));
  } catch (error) {
    if (response.headersSent) return void response.destroy();
    log.error({ err: error, command: name }, `command failed: ${messageOf(error)}`);
    reply(isHaulierError(error) ? error.nova.code : 500, { error: messageOf(error), ...(isHaulierError(error) ? { advice: error.advice } : {}) });
  }
}

async function tell(response: ServerResponse, values: (signal: AbortSignal) => AsyncIterable<unknown>): Promise<void> {
  const lines = jsonLines(response, values);
  response.writeHead(200, { 'content-type': 'application/x-ndjson' }).flushHeaders();
  await pipeline(lines, response).catch((error: NodeJS.ErrnoException) => { if (error.code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error; });
}

/** Values as text, one a line, until `response` is over. */
export function jsonLines(response: ServerResponse, values: (signal: AbortSignal) => AsyncIterable<unknown>): Readable {
  const over = new AbortController();
  response.once('close', () => over.abort());
  const all = values(over.signal);
  return Readable.from((async function* () {
    for await (const value of all) yield `${JSON.stringify(value)}\n`;
  })(), { objectMode: true, highWaterMark: 1 });
}

async function read(stream: AsyncIterable<Buffer | string>): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream) {
    chunks.push(Buffer.from(chunk as Buffer));
    bytes += chunk.length;
    if (bytes > maxBytes) throw new Error('too much');
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** No service listens. */
export class NoService extends Error {}

/**
 * Has the running service do a command.
 * @param signal for what may be given up; others take as long as they take
 * @throws NoService, Error with the service's words, the signal's reason
 */
export async function callService(runPath: string, name: string, args: Readonly<Record<string, unknown>>, signal?: AbortSignal): Promise<unknown> {
  const response = await ask(runPath, name, args, signal);
  const body = JSON.parse(await read(response).catch((error: unknown) => { throw signal?.aborted ? signal.reason : error; })) as { result?: unknown; error?: string; advice?: string };
  if (response.statusCode !== 200) throw refusal(response, body);
  return body.result;
}

/** Listens to one of the running service's streams, until the service ends it. @throws NoService, Error with the service's words */
export async function* listenToService(runPath: string, name: string, args: Readonly<Record<string, unknown>>): AsyncGenerator<unknown, void> {
  const response = await ask(runPath, name, args);
  if (response.statusCode !== 200) throw refusal(response, JSON.parse(await read(response)) as Refusal);
  try {
    for await (const line of createInterface({ input: response })) yield JSON.parse(line) as unknown;
  } finally {
    response.destroy();
  }
}

interface Refusal { readonly error?: string; readonly advice?: string }

const refusal = (response: IncomingMessage, { error, advice }: Refusal): Error => new Error([error ?? `status ${response.statusCode}`, advice].filter(Boolean).join('\n'));

async function ask(runPath: string, name: string, args: Readonly<Record<string, unknown>>, signal?: AbortSignal): Promise<IncomingMessage> {
  return await new Promise<IncomingMessage>((resolve, reject) => {
    const sent = request({ socketPath: socketOf(runPath), path: `/${name}`, method: 'POST', signal }, resolve);
    sent.once('error', (error: NodeJS.ErrnoException) => reject(error.code === 'ENOENT' || error.code === 'ECONNREFUSED' ? new NoService('the service does not run') : signal?.aborted ? signal.reason : error));
    sent.end(JSON.stringify(args));
  });
}
