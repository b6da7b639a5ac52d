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

/** Ports of the APIs. */
export const ports = { keystone: 5000, placement: 8778, glance: 9292, neutron: 9696, nova: 8774 } as const;
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

let pools: Promise<Readonly<Record<ApiName, Pool>>> | undefined;

/** Connections to each API; made at the first call. */
export function bridge(): Promise<Readonly<Record<ApiName, Pool>>> {
  pools ??= start();
  return pools;
}

async function start(): Promise<Readonly<Record<ApiName, Pool>>> {
  const folder = mkdtempSync(join(tmpdir(), 'haulier-cloud-'));
  const child = spawn('nsenter', ['-t', String(namespacePid('ctl')), '-n', '--', process.execPath, '-e', passOn, folder, '10.70.0.10', ...Object.values(ports).map(String)], { stdio: ['pipe', 'pipe', 'inherit'] });
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  await Promise.race([once(child.stdout, 'data'), once(child, 'exit').then(() => { throw new Error('no way into the control plane\'s network'); })]);
  // neither the process nor its pipes keep the test process alive
  child.unref();
  for (const pipe of [child.stdin, child.stdout]) (pipe as unknown as { unref(): void }).unref();
  const entries = Object.entries(ports).map(([name, port]) => [name, new Pool(`http://10.70.0.10:${port}`, { socketPath: join(folder, String(port)), connections: 16, bodyTimeout: 90_000, headersTimeout: 90_000 })]);
  return Object.fromEntries(entries) as Record<ApiName, Pool>;
}
