/** Looks at the first bytes of a stream without losing them. */

/** The beginning of a stream, and all of it. */
export interface Headed {
  /** The first `wanted` bytes or more; fewer only if the stream is shorter. */
  readonly head: Buffer;
  /** The whole stream from its first byte. Leaving the loop early closes the source. */
  readonly all: AsyncGenerator<Buffer, void, undefined>;
}

/** Reads `wanted` bytes ahead. Errors of the source are thrown here or in `all`. */
export async function readHead(source: AsyncIterable<Buffer | string>, wanted: number): Promise<Headed> {
  const iterator = source[Symbol.asyncIterator]();
  const parts: Buffer[] = [];
  let length = 0;
  let done = false;
  while (length < wanted && !done) {
    const next = await iterator.next();
    if (next.done === true) done = true;
    else {
      const part = Buffer.from(next.value as Buffer);
      parts.push(part);
      length += part.length;
    }
  }
  const head = Buffer.concat(parts);
  async function* all(): AsyncGenerator<Buffer, void, undefined> {
    try {
      if (head.length > 0) yield head;
      while (!done) {
        const next = await iterator.next();
        if (next.done === true) done = true;
        else yield Buffer.from(next.value as Buffer);
      }
    } finally {
      if (!done) await iterator.return?.();
    }
  }
  return { head, all: all() };
}
