/**
 * A haul is a two-phase commit between the host that a container leaves and the host that it goes to. At most one of them runs it,
 * ever, and it is never lost.
 *
 *     SOURCE                                              DESTINATION
 *     record preparing ---- offer ----------------------> record preparing
 *     copies the file system while it runs --- rounds --> takes it in; ports plugged, mute
 *                        <------------------ prepared ---
 *     frozen, ports mute, dumped, the rest sent -------->
 *     record OFFERED                                      (a source that has sent `restore` cannot go back by itself)
 *     meanwhile                                           restored; frozen still, and mute: nothing of it has run
 *                       ----- restore ------------------> record RESTORING
 *                                                         record COMMITTED      <== the haul is decided here, and nowhere else
 *                        <------------------- running --- ports opened, thawed, announced
 *     record COMMITTED
 *     the frozen copy killed and removed
 *     record GONE       ----- settled ------------------> record removed
 *     record removed
 *
 * The destination decides, by one record. Until it has written COMMITTED it can take everything back, because the restored processes
 * have not run. Where a host cannot keep them frozen it restores after RESTORING only, and nothing that they did has left it: its ports
 * are mute and its file system is a copy. After COMMITTED it only goes on.
 *
 * What each side does when the other, or the way between them, fails, or after its own crash, by its record:
 *
 *     source       preparing   thaws; the destination gives up by itself when the connection is gone
 *                  offered     stays frozen and asks the destination, for ever: `committed` goes on below, `aborted` thaws
 *                  committed   removes the copy; tries again every 15 s if that fails
 *                  gone        says `settled`, again in growing pauses, for a week at most (`telling.ts`)
 *     Where no answer will ever come an operator may decide (`Doubt`): `there` goes on as `committed`; `here` puts the record back to
 *     preparing, and so no later answer and no crash can change it.
 *     destination  preparing   removes what came, also what is restored already and stands frozen
 *                  restoring   the container runs: committed. It does not: removes it
 *                  committed   opens the ports and lets it go, again every 15 s if that fails; keeps the record until that is done and the source is settled
 *     A question about a haul that the destination does not know, or only prepares, is answered `aborted`, and from that moment on
 *     that haul cannot be restored any more.
 */
import { HaulierError, isHaulierError } from '../../base/errors.js';
import { Doubt, type Outcome, type Settled } from './doubt.js';

export type { Outcome };

/** How far the host has come that a container leaves; on its disk. */
export type SourcePhase = 'preparing' | 'offered' | 'committed' | 'gone';
/** How far the host has come that it goes to; on its disk. */
export type DestinationPhase = 'preparing' | 'restoring' | 'committed';

/** What the protocol needs of the source's host. All but `copy` and `dump` are idempotent. */
export interface SourcePort {
  /** Durable when it returns. */
  record(phase: SourcePhase): Promise<void>;
  forget(): Promise<void>;
  /** Copies while it runs, until the destination is prepared. */
  copy(): Promise<void>;
  /** Freezes it and sends all the rest. */
  dump(): Promise<void>;
  /** It goes on here. */
  thaw(): Promise<void>;
  /** Nothing of it is left here. */
  remove(): Promise<void>;
  /** Waits between two questions. @throws when it is no use any more in this life of the service */
  pause(): Promise<void>;
  /** Asks on a new connection. @throws if there is no answer */
  ask(): Promise<Outcome>;
  /** Tells that nothing is asked any more. @throws if it cannot be told */
  settled(): Promise<void>;
}

/** What the source says and hears on the haul's own connection. */
export interface SourceLink {
  /** @returns at `running` @throws at anything else, also when the connection breaks */
  restore(): Promise<void>;
}

/**
 * The source's side, from the first record to the last.
 * @throws what stopped it: the container goes on here. Where `pause` gave up asking it stands frozen, and `settleSource` goes on asking
 */
export async function runSource(port: SourcePort, link: SourceLink, doubt = new Doubt()): Promise<void> {
  await port.record('preparing');
  try {
    await port.copy();
    await port.dump();
    await port.record('offered');
  } catch (error) {
    // `offered` may be on the disk or not: nobody has been told, so it is as good as not offered
    await goOn(port);
    throw error;
  }
  let failure: unknown;
  try {
    await link.restore();
  } catch (error) {
    failure = error;
  }
  const outcome = await settleSource(port, 'offered', failure === undefined ? 'committed' : undefined, doubt);
  if (outcome === 'aborted') throw failure;
}

async function goOn(port: SourcePort): Promise<void> {
  await port.thaw();
  await port.forget();
}

/** Brings a haul to its end from wherever the source's record says that it is. @param known what became of it, if that was heard already */
export async function settleSource(port: SourcePort, phase: SourcePhase, known?: Outcome, doubt = new Doubt()): Promise<Outcome> {
  const { outcome, byOperator } = await whatBecame(port, phase, known, doubt);
  if (outcome === 'aborted') {
    if (byOperator) await port.record('preparing'); // whatever the destination may still say, it is not asked again
    await goOn(port);
    return outcome;
  }
  if (phase === 'offered') await port.record('committed');
  if (phase !== 'gone') {
    await port.remove();
    await port.record('gone');
  }
  try {
    await port.settled();
  } catch (error) {
    if (isHaulierError(error)) return outcome; // told later: the destination keeps its record until then
    throw error;
  }
  await port.forget();
  return outcome;
}

async function whatBecame(port: SourcePort, phase: SourcePhase, known: Outcome | undefined, doubt: Doubt): Promise<Settled> {
  if (phase === 'preparing') return { outcome: 'aborted', byOperator: false };
  if (phase !== 'offered') return { outcome: 'committed', byOperator: false };
  const outcome = known ?? (await answered(port));
  if (outcome !== undefined) return { outcome, byOperator: false };
  return await doubt.until(async () => {
    for (;;) {
      await port.pause();
      if (!doubt.open) return 'aborted'; // nobody listens any more
      const answer = await answered(port);
      if (answer !== undefined) return answer;
    }
  });
}

async function answered(port: SourcePort): Promise<Outcome | undefined> {
  try {
    return await port.ask();
  } catch (error) {
    if (isHaulierError(error)) return undefined;
    throw error;
  }
}

/** What the protocol needs of the destination's host. All but `receive` and `restore` are idempotent. */
export interface DestinationPort {
  record(phase: DestinationPhase): Promise<void>;
  forget(): Promise<void>;
  /** Takes in all that comes, to the source's `restore`. */
  receive(): Promise<void>;
  /** @throws if no process of it was let go, or all are dead again */
  restore(): Promise<void>;
  /** True if it runs here. */
  runs(): Promise<boolean>;
  /**
   * Opens its ports, lets it go and tells the network. Never throws: the haul is decided, and what fails is tried again later.
   * @param runs called as soon as it runs
   */
  open(runs: () => void): Promise<void>;
  /** Nothing of it is left here. The connection has ended before. */
  discard(): Promise<void>;
}

/** A haul that is under way here. */
export class IncomingHaul {
  #fenced = false;
  #restoring = false;
  #stuck = false;
  #told = false;
  #committed = false;
  readonly #result: Promise<Outcome>;

  /** @param giveUp ends the connection, so that `receive` fails; idempotent; @param running tells the source */
  constructor(private readonly port: DestinationPort, private readonly giveUp: (error: Error) => void, private readonly running: () => void) {
    this.#result = this.#run();
    this.#result.catch(() => undefined);
  }

  /** Its end. @throws what stopped it: then nothing of it is here, unless the error is of a crash */
  get result(): Promise<Outcome> {
    return this.#result;
  }

  /** True once it is decided for this host. */
  get committed(): boolean {
    return this.#committed;
  }

  async #run(): Promise<Outcome> {
    const { port } = this;
    await port.record('preparing');
    try {
      await port.receive();
      this.#begin();
      await port.record('restoring');
      await port.restore();
      await port.record('committed');
    } catch (error) {
      this.#stuck = true; // until it is known that nothing runs here
      this.giveUp(error as Error); // first of all: the source need not stand frozen while all is taken away, and nothing more shall come
      await takeBack(port);
      this.#stuck = false;
      throw error;
    }
    this.#committed = true;
    await port.open(() => this.#tell());
    this.#tell();
    return 'committed';
  }

  /** Tells the source once. */
  #tell(): void {
    if (this.#told) return;
    this.#told = true;
    try {
      this.running();
    } catch {
      // it asks
    }
  }

  /** From here on the answer to a question is not known until the end. */
  #begin(): void {
    if (this.#fenced) throw new HaulierError('HAUL_ABORTED', { reason: 'it has asked what became of the haul, and was told that it is given up' });
    this.#restoring = true;
  }

  /** Answers a question: gives up what is not being restored yet, waits for what is. */
  async ask(): Promise<Outcome> {
    this.#fenced = true;
    if (!this.#restoring) this.giveUp(new HaulierError('HAUL_ABORTED', { reason: 'the other side asks what became of the haul: it lost the connection' }));
    const outcome = await this.#result.catch(() => 'aborted' as const);
    if (this.#stuck) throw new HaulierError('HAUL_FAILED', { reason: 'what came of the container cannot be removed: its fate is open until that is done' });
    return outcome;
  }
}

async function takeBack(port: DestinationPort): Promise<void> {
  await port.discard();
  await port.forget();
}

/** After a crash: brings the destination's side to where its record, and what runs, say that it is. @returns what is answered to a question from now on */
export async function settleDestination(port: DestinationPort, phase: DestinationPhase): Promise<Outcome> {
  if (phase === 'committed' || (phase === 'restoring' && (await port.runs()))) {
    await port.record('committed');
    await port.open(() => undefined);
    return 'committed';
  }
  await takeBack(port);
  return 'aborted';
}
