/** Waiting for several pieces of work, and for one that may be given up. */

/** As `Promise.all`, but waits for all of them to end before it throws what the first of the list threw. */
export async function together<T extends readonly unknown[]>(...work: { readonly [K in keyof T]: Promise<T[K]> }): Promise<T> {
  const ends = await Promise.allSettled(work as readonly Promise<unknown>[]);
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
  return ends.map((end) => (end as PromiseFulfilledResult<unknown>).value) as unknown as T;
}

/** Waits for `work`, but no longer than until the signal. @throws what `work` throws, or the signal's reason; `work` goes on then */
export async function untilAborted(work: Promise<unknown>, signal: AbortSignal): Promise<void> {
  work.catch(() => undefined); // where nobody waits for it any more, its failure is nobody's: it would end the service
  signal.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(() => resolve(), reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
