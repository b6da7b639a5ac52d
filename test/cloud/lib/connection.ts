/** One TCP connection from the control plane into a server, kept open while the server is frozen and thawed. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { namespacePid, until } from './machine.js';

const client = `
const [host, port] = process.argv.slice(1);
const socket = require('node:net').connect({ host, port: Number(port) });
socket.on('connect', () => console.log('connected'));
socket.on('error', (error) => console.log('error ' + error.message));
socket.on('close', () => { console.log('closed'); process.exit(); });
socket.pipe(process.stdout);
process.stdin.pipe(socket);
`;

/** A connection to something that answers each line. */
export class Connection {
  readonly #child;
  readonly #heard: string[] = [];

  private constructor(address: string, port: number) {
    this.#child = spawn('nsenter', ['-t', String(namespacePid('ctl')), '-n', '--', process.execPath, '-e', client, address, String(port)], { stdio: ['pipe', 'pipe', 'inherit'] });
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#heard.push(line));
  }

  /** @throws if nobody listens there */
  static async open(address: string, port: number): Promise<Connection> {
    const connection = new Connection(address, port);
    await connection.#hear((line) => line === 'connected', 10);
    return connection;
  }

  /** Sends a line. @returns the answer that speaks of it */
  async ask(line: string, seconds = 20): Promise<string> {
    this.#child.stdin.write(`${line}\n`);
    return this.#hear((heard) => heard.endsWith(` ${line}`), seconds);
  }

  async #hear(wanted: (line: string) => boolean, seconds: number): Promise<string> {
    return until('an answer on the connection', seconds, async () => this.#heard.find(wanted), () => this.#heard);
  }

  /** True as long as neither side has ended it. */
  get open(): boolean {
    return !this.#heard.some((line) => line === 'closed' || line.startsWith('error'));
  }

  end(): void {
    this.#child.kill();
  }
}
