/** The devstack as the benchmarks use it: commands of `devstack/cloud`, Haulier's log, and the client inside the management network. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Command } from '../client.js';
import { Inside } from './inside.js';

const run = promisify(execFile);

function findProject(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'devstack/cloud'))) return folder;
    if (folder === dirname(folder)) throw new Error('devstack/cloud not found');
  }
}

/** The project's folder; inside the hosts it is /opt/haulier. */
export const project = findProject();
/** The devstack's work folder. */
export const work = process.env['HAULIER_DEVSTACK_DIR'] ?? join(project, '.devstack');
const began = performance.now();

/** One line of progress on standard error. */
export function say(text: string): void {
  process.stderr.write(`[${((performance.now() - began) / 1000).toFixed(1).padStart(6)}s] ${text}\n`);
}

/** Runs `devstack/cloud ARGS`. @returns its standard output @throws Error with the end of what it said */
export async function cloud(...args: string[]): Promise<string> {
  try {
    return (await run(join(project, 'devstack/cloud'), args, { maxBuffer: 256 * 1024 * 1024 })).stdout;
  } catch (error) {
    const { stderr = '' } = error as { stderr?: string };
    throw new Error(`devstack/cloud ${args.join(' ')}: ${stderr.split('\n').slice(-12).join('\n')}`, { cause: error });
  }
}

/** Sets options in [DEFAULT] of a host's nova.conf; an empty value takes one away. */
export async function setOptions(host: string, options: Readonly<Record<string, string>>): Promise<void> {
  const edits = Object.entries(options).flatMap(([name, value]) => ['-e', `/^${name} *=/d`, ...(value === '' ? [] : ['-e', `/^\\[DEFAULT\\]$/a ${name} = ${value}`])]);
  if (edits.length > 0) await cloud('exec', host, 'sed', '-i', ...edits, '/etc/nova/nova.conf');
}

/** What the log says of a finished build. */
export interface Built {
  readonly instance: string;
  /** From the RPC to the saved result, milliseconds; of it: waiting for a slot, and for nothing but neutron's event. */
  readonly ms: number;
  readonly queued: number;
  readonly waited: number;
}

/** Haulier on one of the cloud's hosts. */
export class Haulier {
  constructor(readonly host: string) {}

  get #logFile(): string {
    return join(work, 'hosts', this.host, 'haulier.log');
  }

  #lines(): Record<string, unknown>[] {
    return readFileSync(this.#logFile, 'utf8').split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** Starts it anew from `main`, with these options in [DEFAULT], and waits until it serves. */
  async restart(main: string, options: Readonly<Record<string, string>> = {}): Promise<void> {
    await cloud('haulier', 'stop', this.host);
    await setOptions(this.host, options);
    const before = existsSync(this.#logFile) ? this.#lines().length : 0;
    await cloud('haulier', 'start', this.host, main);
    for (let tries = 0; !this.#lines().slice(before).some((line) => line['msg'] === 'ready'); tries++) {
      if (tries > 300) throw new Error(`haulier on ${this.host} is not ready (${this.#logFile})`);
      await sleep(100);
    }
  }

  /** The builds that the log tells of, by server. */
  built(): ReadonlyMap<string, Built> {
    const rows = this.#lines().filter((line) => line['msg'] === 'server built') as unknown as Built[];
    return new Map(rows.map((row) => [row.instance, row]));
  }

  /** Its process id on this machine. */
  pid(): number {
    return pidOf(`${this.host}.haulier`);
  }
}

/** Process id of a service of the devstack, as `host1.haulier`. */
export function pidOf(service: string): number {
  return Number(readFileSync(join(work, 'svc', service), 'utf8').split(' ')[0]);
}

/** The client process in the management network. */
export class Client {
  readonly #inside: Inside;

  constructor(host: string) {
    this.#inside = new Inside(host, 'client');
  }

  /** Logs in as the administrator. */
  async login(): Promise<void> {
    const password = /^PW_ADMIN=(\w+)$/m.exec(readFileSync(join(work, 'secrets'), 'utf8'))?.[1] ?? '';
    await this.tell({ do: 'login', login: { authUrl: 'http://10.70.0.10:5000/v3', user: 'admin', project: 'admin', password }, image: 'busybox', flavor: 'h1.tiny' });
  }

  /** One command. @throws Error with what it complains of */
  tell<T>(command: Command): Promise<T> {
    return this.#inside.tell<T>(command);
  }

  end(): void {
    this.#inside.end();
  }
}

/** The machine's load, for the report: ratios of one run count, not seconds. */
export function loadAverage(): string {
  return readFileSync('/proc/loadavg', 'utf8').split(' ').slice(0, 3).join(' ');
}
