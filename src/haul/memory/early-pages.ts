/**
 * Pages that nobody has asked for yet. A restored container first touches its stacks, its programs' data and the like, page after page,
 * and waits for each: a way to the other host and back. So the small areas of its memory go ahead while it is being restored,
 * and the destination answers for them. A copy is harmless: the frozen original does not change.
 */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { HaulierError } from '../../base/errors.js';
import { readImage } from '../../container/checkpoint/image-file.js';
import type { HaulChannel } from '../wire/channel.js';
import { pageBytes, PieceReader, question, rangeOf, withRange, type HeaderBytes, type PageRange } from './page-protocol.js';

const streamName = 'early-pages';
/** So much goes ahead: it shares wire and processors with the restore, which takes longer with more. */
const maxPages = 256;
/** Pages of one question. */
const maxAsked = 64;
/** A process with more areas than fit into such a list is passed over: to read it would take longer than it saves. */
const maxListBytes = 256 * 1024;
const lazyFlag = 2;
/** Fields of criu's images/pagemap.proto. */
const field = { address: 1, pages32: 2, flags: 4, pages: 5 } as const;

/** The areas of a lazy dump, the smallest first, that make no more than the limit. @param folder its images @throws Error if one of them is none */
export async function earlyRanges(folder: string, limit = maxPages): Promise<PageRange[]> {
  const pids = readdirSync(folder).flatMap((name) => /^pagemap-(\d+)\.img$/.exec(name)?.[1] ?? []).filter((pid) => statSync(join(folder, `pagemap-${pid}.img`)).size <= maxListBytes);
  const areas = await Promise.all(pids.map(async (pid) => (await readImage(folder, `pagemap-${pid}`)).slice(1).filter((entry) => (entry.number(field.flags) & lazyFlag) !== 0)
    .map((entry): PageRange => ({ pid: Number(pid), address: entry.big(field.address), pages: entry.has(field.pages) ? entry.number(field.pages) : entry.number(field.pages32) }))));
  const chosen: PageRange[] = [];
  let room = limit;
  for (const area of areas.flat().sort((one, other) => one.pages - other.pages)) {
    if ((room -= area.pages) < 0) break;
    chosen.push(area);
  }
  return chosen;
}

/** At the source: fetches them from criu, which is asked nothing else meanwhile, and sends its answers as they are. @throws HAUL_LOST if criu has no more */
export async function sendEarly(channel: HaulChannel, criu: Duplex, ranges: readonly PageRange[], size: HeaderBytes, onBytes?: (bytes: number) => void): Promise<void> {
  await pipeline(answers(criu, ranges, size, onBytes), channel.openStream(streamName));
}

async function* answers(criu: Duplex, ranges: readonly PageRange[], size: HeaderBytes, onBytes?: (bytes: number) => void): AsyncGenerator<Buffer> {
  const reader = new PieceReader(criu);
  for (const range of ranges) {
    for (let done = 0; done < range.pages;) {
      criu.write(question(size, { ...range, address: range.address + BigInt(done * pageBytes), pages: Math.min(range.pages - done, maxAsked) }));
      const head = await reader.take(size);
      const pages = head && rangeOf(head).pages > 0 ? await reader.take(rangeOf(head).pages * pageBytes) : undefined;
      if (!head || !pages) throw new HaulierError('HAUL_LOST', { reason: 'criu gives no more pages' });
      yield head;
      yield pages;
      onBytes?.(head.length + pages.length);
      done += rangeOf(head).pages;
    }
  }
  await reader.end();
}

/** At the destination: what has come of them. Each is asked for once, and forgotten then. */
export class EarlyPages {
  readonly #pages = new Map<string, Buffer>();
  #head: Buffer = Buffer.alloc(0);

  /** Takes them in as they come; never throws: what does not come is asked for. */
  async receive(channel: HaulChannel, size: HeaderBytes): Promise<void> {
    let stream: Readable | undefined;
    try {
      stream = await channel.acceptStream(streamName);
      const reader = new PieceReader(stream);
      for (let head = await reader.take(size); head; head = await reader.take(size)) {
        const { pid, address, pages } = rangeOf(head);
        if (!(pages > 0 && pages <= maxAsked)) throw new HaulierError('HAUL_PROTOCOL', { reason: `${pages} pages at once` });
        const bytes = await reader.take(pages * pageBytes);
        if (!bytes || this.#pages.size + pages > maxPages) throw new HaulierError('HAUL_PROTOCOL', { reason: 'more pages than may come' });
        this.#head = head;
        for (let page = 0; page < pages; page++) this.#pages.set(keyOf(pid, address, page), bytes.subarray(page * pageBytes, (page + 1) * pageBytes));
      }
    } catch (error) {
      stream?.destroy(error as Error); // a channel that breaks tells so to everybody
    }
  }

  /** The answer, with as many of the pages as are here, from the first on; undefined if that is not. */
  answer({ pid, address, pages }: PageRange): Buffer | undefined {
    const found: Buffer[] = [];
    for (let page = 0; page < pages; page++) {
      const bytes = this.#pages.get(keyOf(pid, address, page));
      if (!bytes) break;
      this.#pages.delete(keyOf(pid, address, page));
      found.push(bytes);
    }
    return found.length === 0 ? undefined : Buffer.concat([withRange(this.#head, { pid, address, pages: found.length }), ...found]);
  }
}

const keyOf = (pid: number, address: bigint, page: number): string => `${pid} ${address + BigInt(page * pageBytes)}`;
