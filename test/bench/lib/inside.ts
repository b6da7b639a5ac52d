/** Programs of the benchmarks inside a host of the devstack: commands as JSON lines on standard input, one answer a line on standard output. */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { project } from './cloud.js';

/** What it answers. */
type Reply = { readonly ok: unknown } | { readonly failed: string };

/** Such a program, from outside. */
export class Inside {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #answers: AsyncIterator<string>;

  /** @param script in test/bench, without its ending */
  constructor(host: string, script: string) {
    const path = join('/opt/haulier', relative(project, fileURLToPath(new URL(`../${script}.js`, import.meta.url))));
    this.#child = spawn(join(project, 'devstack/cloud'), ['exec', host, 'node', path]);
    this.#child.stderr.pipe(process.stderr);
    this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** One command. @throws Error with what it complains of */
  async tell<T>(command: object): Promise<T> {
    this.#child.stdin.write(`${JSON.stringify(command)}\n`);
    const answer = await this.#answers.next();
    if (answer.done) throw new Error('the program inside ended');
    const reply = JSON.parse(answer.value) as Reply;
    if ('failed' in reply) throw new Error(reply.failed);
    return reply.ok as T;
  }

  end(): void {
    this.#child.stdin.end();
  }
}

/** The loop of such a program: until standard input ends. */
export async function obeyEach<T>(obey: (command: T) => Promise<unknown>): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    const reply = await obey(JSON.parse(line) as T).then<Reply, Reply>((value) => ({ ok: value ?? null }), (error: unknown) => ({ failed: error instanceof Error ? error.message : String(error) }));
    process.stdout.write(`${JSON.stringify(reply)}\n`);
  }
}
