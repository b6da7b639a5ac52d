/**
 * The APIs listen in the control plane's network namespace, tests run outside. A small process inside that namespace passes
 * connections on: one socket file for each port, which undici can dial. It ends with the test process.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Pool } from 'undici';
import { namespacePid } from './machine.js';

/** Ports of the APIs, and of the proxy of serial consoles. */
export const ports = { keystone: 5000, placement: 8778, glance: 9292, neutron: 9696, nova: 8774, serialproxy: 6083 } as const;
/** One of them. */
export type ApiName = keyof typeof ports;

const passOn = `
const net = require('node:net');
const [folder, address, ...ports] = process.argv.slice(1);
let waiting = ports.length;
for (const port of ports) {
  net.createServer({ allowHalfOpen: true }, (near) => {
    const far = net.connect({ host: address, port: Number(port), allowHalfOpen: true });
    near.pipe(far).pipe(near);
    near.on('error', () => far.destroy());
    far.on('error', () => near.destroy());
  }).listen(folder + '/' + port, () => { if (--waiting === 0) console.log('ready'); });
}
process.stdin.resume().on('end', () => process.exit());
`;

let folders: Promise<string> | undefined;
let pools: Promise<Readonly<Record<ApiName, Pool>>> | undefined;

/** Connections to each API; made at the first call. */
export function bridge(): Promise<Readonly<Record<ApiName, Pool>>> {
  pools ??= connect();
  return pools;
}

/** The socket file behind which a port of the control plane is. */
export async function socketOf(name: ApiName): Promise<string> {
  folders ??= start();
  return join(await folders, String(ports[name]));
}

async function connect(): Promise<Readonly<Record<ApiName, Pool>>> {
  const entries = await Promise.all(Object.entries(ports).map(async ([name, port]) => [name, new Pool(`http://10.70.0.10:${port}`, { socketPath: await socketOf(name as ApiName), connections: 16, bodyTimeout: 90_000, headersTimeout: 90_000 })]));
  return Object.fromEntries(entries) as Record<ApiName, Pool>;
}

async function start(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'haulier-cloud-'));
  const child = spawn('nsenter', ['-t', String(namespacePid('ctl')), '-n', '--', process.execPath, '-e', passOn, folder, '10.70.0.10', ...Object.values(ports).map(String)], { stdio: ['pipe', 'pipe', 'inherit'] });
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  await Promise.race([once(child.stdout, 'data'), once(child, 'exit').then(() => { throw new Error('no way into the control plane\'s network'); })]);
  // neither the process nor its pipes keep the test process alive
  child.unref();
  for (const pipe of [child.stdin, child.stdout]) (pipe as unknown as { unref(): void }).unref();
  return folder;
}
