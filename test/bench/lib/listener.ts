/** A client outside in a thread of its own, so that nothing else which the benchmark does delays its clock. Takes `reset` and `read`. */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { once } from 'node:events';
import { NumberClient } from '../../host/haul/numbers.js';

type Question = 'reset' | 'read' | 'close';

/** The handle on it. */
export class Listener {
  private constructor(private readonly worker: Worker) {}

  static async open(address: string): Promise<Listener> {
    const worker = new Worker(new URL(import.meta.url), { workerData: address });
    await once(worker, 'message');
    return new Listener(worker);
  }

  /** Forgets the silence so far, once it is sure that numbers come. */
  async reset(): Promise<void> {
    await this.#ask('reset');
  }

  /** The longest silence since, milliseconds, once numbers come again. @throws what went wrong with the numbers */
  async silenceMs(): Promise<number> {
    return Number(await this.#ask('read'));
  }

  async close(): Promise<void> {
    await this.#ask('close');
    await this.worker.terminate();
  }

  async #ask(question: Question): Promise<unknown> {
    this.worker.postMessage(question);
    const [answer] = (await once(this.worker, 'message')) as [unknown];
    if (typeof answer === 'string') throw new Error(answer);
    return answer;
  }
}

const numbersAtOnce = 100;

async function serve(address: string): Promise<void> {
  const client = await NumberClient.open(address, 7000);
  const answer = async (question: Question): Promise<number> => {
    if (question === 'close') client.close();
    else await client.more(numbersAtOnce);
    const silence = client.longestSilenceMs;
    if (question === 'reset') client.longestSilenceMs = 0;
    return silence;
  };
  parentPort?.on('message', (question: Question) => void answer(question).then((value) => parentPort?.postMessage(value), (error: Error) => parentPort?.postMessage(error.message)));
  parentPort?.postMessage(0);
}

if (!isMainThread && parentPort) await serve(String(workerData));
