/**
 * How old files are, by a clock that does not jump. Their times are the wall clock's, which somebody may set: it is asked once, when a file
 * is first seen, and from then on the time that passes is counted.
 */
export class Ages {
  readonly #seen = new Map<string, { readonly stamp: number; readonly at: number }>();

  /** @param steady milliseconds of a clock that never jumps @param wall milliseconds since 1970 */
  constructor(private readonly steady: () => number = () => performance.now(), private readonly wall: () => number = () => Date.now()) {}

  /**
   * Milliseconds since the file was written, or since it was seen to have been written anew.
   * @param stamp the file's time, milliseconds since 1970
   */
  of(key: string, stamp: number): number {
    const now = this.steady();
    const before = this.#seen.get(key);
    if (before?.stamp === stamp) return now - before.at;
    const age = before ? 0 : Math.max(0, this.wall() - stamp);
    this.#seen.set(key, { stamp, at: now - age });
    return age;
  }

  /** It is gone. */
  forget(key: string): void {
    this.#seen.delete(key);
  }
}
