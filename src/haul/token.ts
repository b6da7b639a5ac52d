/** One-time tokens: 32 random bytes that open one haul of one instance for one peer, once, within their time. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { hideSecret } from '../base/log.js';

const tokenBytes = 32;
const digestOf = (token: string): Buffer => createHash('sha256').update(token).digest();

/** A new token, as text; hidden in the log from now on. */
export function newToken(): string {
  const token = randomBytes(tokenBytes).toString('base64url');
  hideSecret(token);
  return token;
}

/** True if both are the same; takes equally long in any case. */
export function sameToken(one: string, other: string): boolean {
  return timingSafeEqual(digestOf(one), digestOf(other));
}

interface Entry<T> { readonly digest: Buffer; readonly value: T; readonly expiresAt: number }

/** Tokens that were given out and not used yet. Kept as hashes. */
export class TokenBook<T> {
  readonly #entries = new Set<Entry<T>>();

  /** @param now milliseconds of a clock that only goes forward */
  constructor(private readonly now: () => number = () => performance.now()) {}

  /** Notes a token. @returns takes it back; more than one call does no harm */
  add(token: string, value: T, ttlMs: number): () => void {
    this.#sweep();
    const entry = { digest: digestOf(token), value, expiresAt: this.now() + ttlMs };
    this.#entries.add(entry);
    return () => void this.#entries.delete(entry);
  }

  /** What the token stands for; it stands for nothing from now on. Every entry is compared, each in constant time. */
  use(token: string): T | undefined {
    this.#sweep();
    const digest = digestOf(token);
    let found: Entry<T> | undefined;
    for (const entry of this.#entries) if (timingSafeEqual(entry.digest, digest)) found = entry;
    if (found) this.#entries.delete(found);
    return found?.value;
  }

  get size(): number {
    this.#sweep();
    return this.#entries.size;
  }

  #sweep(): void {
    const now = this.now();
    for (const entry of this.#entries) if (entry.expiresAt <= now) this.#entries.delete(entry);
  }
}
