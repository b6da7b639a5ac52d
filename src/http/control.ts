/**
 * The service's side of commands that work on its containers: HTTP on a Unix socket in `run_path`, which only root can open. The command
 * line sends there what must be done by the one process that holds the host (`takeHost`).
 */
import { chmod, mkdir, rm } from 'node:fs/promises';
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { isHaulierError, messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';

/** Commands by name. What they give and take is JSON. */
export type Commands = Readonly<Record<string, (args: Readonly<Record<string, unknown>>) => Promise<unknown>>>;

const maxBytes = 64 * 1024;
const socketOf = (runPath: string): string => join(runPath, 'control.sock');

/** Listens; whoever holds the host may. @returns how to end it */
export async function startControl(runPath: string, commands: Commands, log: Log): Promise<{ close(): Promise<void> }> {
  const path = socketOf(runPath);
  await mkdir(runPath, { recursive: true, mode: 0o711 }); // the containers' side has not begun yet
  await rm(path, { force: true });
  const server: Server = createServer((incoming, response) => void answer(commands, incoming, response, log));
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(path, resolve));
  await chmod(path, 0o600);
  return { close: () => new Promise((resolve) => { server.closeAllConnections(); server.close(() => resolve()); }) };
}

async function answer(commands: Commands, incoming: IncomingMessage, response: ServerResponse, log: Log): Promise<void> {
  const reply = (status: number, body: unknown): void => void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  const name = incoming.url?.slice(1) ?? '';
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (incoming.method !== 'POST' || !command) return reply(404, { error: `no command ${name}` });
  try {
    reply(200, { result: await command(JSON.parse(await read(incoming)) as Record<string, unknown>) });
  } catch (error) {
    log.error({ err: error, command: name }, `command failed: ${messageOf(error)}`);
    reply(isHaulierError(error) ? error.nova.code : 500, { error: messageOf(error), ...(isHaulierError(error) ? { advice: error.advice } : {}) });
  }
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
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const sent = request({ socketPath: socketOf(runPath), path: `/${name}`, method: 'POST', signal }, resolve);
    sent.once('error', (error: NodeJS.ErrnoException) => reject(error.code === 'ENOENT' || error.code === 'ECONNREFUSED' ? new NoService('the service does not run') : signal?.aborted ? signal.reason : error));
    sent.end(JSON.stringify(args));
  });
  const body = JSON.parse(await read(response).catch((error: unknown) => { throw signal?.aborted ? signal.reason : error; })) as { result?: unknown; error?: string; advice?: string };
  if (response.statusCode !== 200) throw new Error([body.error ?? `status ${response.statusCode}`, body.advice].filter(Boolean).join('\n'));
  return body.result;
}
