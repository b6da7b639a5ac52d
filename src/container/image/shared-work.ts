/** Work that several callers wait for, done once. It is given up only when the last of them has given up. */

interface Shared<T> {
  readonly result: Promise<T>;
  readonly abort: AbortController;
  readonly watchers: Set<(progress: number) => void>;
}

/** One job a key at a time; callers of the same key join it. */
export class SharedWork<T> {
  readonly #running = new Map<string, Shared<T>>();

  /**
   * Joins the job of `key`, or starts it.
   * @param work gets a signal that aborts when the last caller has left, and a function to tell progress (0 to 1) to all callers
   * @param signal this caller's: when it aborts, this caller leaves with its reason; the last to leave waits for the job's clean-up
   * @throws what the job throws, or the signal's reason
   */
  async join(key: string, signal: AbortSignal, watch: (progress: number) => void, work: (signal: AbortSignal, progress: (share: number) => void) => Promise<T>): Promise<T> {
    for (;;) {
      signal.throwIfAborted();
      const running = this.#running.get(key);
      if (!running?.abort.signal.aborted) return await this.#wait(running ?? this.#start(key, work), signal, watch);
      await running.result.then(() => undefined, () => undefined); // it is being given up: wait for its end, then start anew
    }
  }

  #start(key: string, work: (signal: AbortSignal, progress: (share: number) => void) => Promise<T>): Shared<T> {
    const abort = new AbortController();
    const watchers = new Set<(progress: number) => void>();
    const result = (async () => {
      try {
        return await work(abort.signal, (share) => { for (const watch of watchers) watch(share); });
      } finally {
        this.#running.delete(key);
      }
    })();
    const shared = { result, abort, watchers };
    this.#running.set(key, shared);
    return shared;
  }

  async #wait(shared: Shared<T>, signal: AbortSignal, watch: (progress: number) => void): Promise<T> {
    // a watcher of its own for each caller, even if two pass the same function
    const watcher = (progress: number): void => watch(progress);
    shared.watchers.add(watcher);
    let leave: (() => void) | undefined;
    const left = new Promise<'left'>((resolve) => {
      leave = () => resolve('left');
      signal.addEventListener('abort', leave, { once: true });
    });
    try {
      const outcome = await Promise.race([shared.result.then((value) => ({ value })), left]);
      if (outcome !== 'left') return outcome.value;
      shared.watchers.delete(watcher);
      if (shared.watchers.size === 0) {
        shared.abort.abort(signal.reason);
        await shared.result.catch(() => undefined);
      }
      throw signal.reason;
    } finally {
      if (leave) signal.removeEventListener('abort', leave);
      shared.watchers.delete(watcher);
    }
  }
}
