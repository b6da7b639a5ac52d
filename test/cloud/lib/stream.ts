/** A server that sends 1, 2, 3... on each connection, and a client outside that reads one of them to the end: no number may be missing or come twice. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { guest, type HostName } from './host.js';
import { namespacePid, until } from './machine.js';

const port = 7000;

const client = `
const [host, port] = process.argv.slice(1);
const socket = require('node:net').connect({ host, port: Number(port) });
let [rest, next, wrong, gap, last] = ['', 1, '', 0, performance.now()];
socket.on('data', (data) => {
  const now = performance.now();
  gap = Math.max(gap, now - last);
  last = now;
  const lines = (rest + data).split('\\n');
  rest = lines.pop();
  for (const line of lines) {
    if (line !== String(next) && !wrong) wrong = line + ' instead of ' + next;
    next += 1;
  }
});
socket.on('error', (error) => { wrong ||= error.message; });
socket.on('close', () => { wrong ||= 'closed'; });
setInterval(() => console.log(JSON.stringify({ n: next - 1, wrong, gap: Math.max(gap, performance.now() - last) })), 100);
process.stdin.on('data', () => { gap = 0; last = performance.now(); });
`;

interface Seen { readonly n: number; readonly wrong: string; readonly gap: number }

/** Starts the server inside. */
export async function startNumbers(host: HostName, id: string): Promise<void> {
  await guest(host, id, `printf '#!/bin/sh\\nn=0\\nwhile :; do n=$((n + 1)); echo $n; usleep 10000; done\\n' >/run/numbers; chmod 755 /run/numbers; setsid nc -ll -p ${port} -e /run/numbers </dev/null >/dev/null 2>&1 &`);
  await until('somebody listens', 20, async () => (await guest(host, id, 'netstat -ltn')).includes(`:${port} `));
}

/** The client. */
export class NumberStream {
  readonly #child;
  #seen: Seen = { n: 0, wrong: '', gap: 0 };

  private constructor(address: string) {
    this.#child = spawn('nsenter', ['-t', String(namespacePid('ctl')), '-n', '--', process.execPath, '-e', client, address, String(port)], { stdio: ['pipe', 'pipe', 'inherit'] });
    createInterface({ input: this.#child.stdout }).on('line', (line) => { this.#seen = JSON.parse(line) as Seen; });
  }

  static async open(address: string): Promise<NumberStream> {
    const stream = new NumberStream(address);
    await stream.goesOn();
    return stream;
  }

  /** Waits for more numbers. @throws if one was missing, came twice, or the connection has ended */
  async goesOn(count = 20, seconds = 60): Promise<void> {
    const from = this.#seen.n;
    await until(`${count} more numbers`, seconds, async () => {
      if (this.#seen.wrong !== '') throw new Error(`the connection: ${this.#seen.wrong}`);
      return this.#seen.n >= from + count;
    }, () => this.#seen);
  }

  /** The longest time without data since the last `quiet`, in milliseconds. */
  get silenceMs(): number {
    return Math.round(this.#seen.gap);
  }

  /** The longest silence is measured anew. */
  quiet(): void {
    this.#seen = { ...this.#seen, gap: 0 };
    this.#child.stdin.write('\n');
  }

  end(): void {
    this.#child.kill();
  }
}
