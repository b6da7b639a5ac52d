/**
 * Another compute service under this host's name, on whatever machine: both would take requests from one queue, each some of them, and both
 * would write one record. Where its node has another uuid it does not start (node-identity.ts); where that was copied, or the second machine
 * shares its disks, only the message bus shows it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { HaulierError, messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { Messaging } from '../messaging/messaging.js';
import { MessagingTimeout } from '../messaging/types.js';
import { adminContext } from '../nova/context.js';

type Bus = Pick<Messaging, 'client' | 'servers'>;

/** How often and how long: a broker forgets a machine that died after two missed heartbeats of 60 s at most. */
export const aloneTiming = { pingMs: 10_000, pauseMs: 1000, tries: 15 };

/**
 * Before anything is served. What consumes our queue and answers is alive; what does not answer may be our own connection of before a crash,
 * which the broker will forget.
 * @throws IDENTITY, the signal's reason
 */
export async function requireAlone(bus: Bus, host: string, log: Log, signal: AbortSignal, timing = aloneTiming): Promise<void> {
  for (let n = 0; n < timing.tries;) {
    const others = await bus.servers('compute', host, signal).catch((error: unknown) => {
      signal.throwIfAborted();
      log.warn({ err: error }, `cannot ask the broker who serves ${host}: ${messageOf(error)}; asking again`);
      return undefined;
    });
    if (others === 0) return;
    if (others === undefined) await sleep(timing.pauseMs, undefined, { signal });
    else if (await answers(bus, host, timing.pingMs, signal)) throw new HaulierError('IDENTITY', { reason: `a compute service of the name ${host} is running: it answers on the message bus. Every host needs a name of its own (\`host\`)` });
    else log.warn({ host, try: ++n }, 'something consumes this host\'s queue and does not answer; perhaps a connection that the broker has not yet found dead');
  }
  throw new HaulierError('IDENTITY', { reason: `something consumes the queue of ${host} on the message bus and does not answer: a compute service of this name that hangs?` });
}

async function answers({ client }: Bus, host: string, timeoutMs: number, signal: AbortSignal): Promise<boolean> {
  try {
    await client.call({ topic: 'compute', server: host, namespace: 'baseapi', version: '1.0' }, 'ping', { arg: 'is somebody there?' }, adminContext(), { timeoutMs, signal });
    return true;
  } catch (error) {
    signal.throwIfAborted();
    return !(error instanceof MessagingTimeout); // a refusal is an answer
  }
}

/** While serving: looks now and then whether another one has come. */
export class AloneWatch {
  #crowded = 0;

  /** @param patience looks in a row before it is believed: after a reconnect the broker may count our old connection for a while */
  constructor(private readonly bus: Bus, private readonly host: string, private readonly log: Log, private readonly patience = 3) {}

  /** What is wrong, in words. */
  get problem(): string | undefined {
    return this.#crowded >= this.patience ? `another compute service of the name ${this.host} takes requests from the same queue` : undefined;
  }

  async look(): Promise<void> {
    const count = await this.bus.servers('compute', this.host);
    const before = this.problem;
    this.#crowded = count > 1 ? this.#crowded + 1 : 0;
    const { problem } = this;
    if (problem !== undefined && before === undefined) this.log.error({ host: this.host, consumers: count }, `${problem}: each of the two does only some of what Nova asks. Stop one of them, and give it a name of its own`);
    else if (problem === undefined && before !== undefined) this.log.info({ host: this.host }, 'alone in this host\'s queue again');
  }
}
