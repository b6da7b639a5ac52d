/**
 * Copies a layer in rounds, the same at both ends: what changed since the round before, and in the last one, when nothing moves any
 * more, all that is left. One round:
 *
 *     source                                            destination
 *     sync, look
 *     message `round`: number, last, names; streams gone, archive, list ->   remove, unpack, make sockets, look
 *                                                       (but for the last: sync; that one is synced while the memory comes, before the commit)
 *                                                  <-   message `round-done`: names that are not as in the list
 *
 * After the last round no name may be wrong.
 */
import { Transform } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { HaulierError } from '../../base/errors.js';
import { run } from '../../base/run.js';
import type { HaulChannel } from '../wire/channel.js';
import { makeSockets, packNames, removeNames, unpackNames } from './layer-tar.js';
import { difference, mistakes, parseManifest, scan, type Manifest } from './manifest.js';

/** What one round did. */
export interface RoundStats {
  readonly names: number;
  readonly bytes: number;
  readonly ms: number;
  /** Names that moved under our hands: the next round sends them again. */
  readonly wrong: number;
}

/** Follows a round: bytes that must go, as far as is known when it begins (holes count in full), and bytes that have gone. */
export interface RoundMeter {
  expected(bytes: number): void;
  sent(bytes: number): void;
}

/** What tar writes for a name, beside its content. */
const nameBytes = 1536;
const syncTimeoutMs = 120_000;
/** Names in a message of mistakes; a copy with more is begun anew by the next round anyway. */
const maxMistakes = 2000;
const maxListBytes = 1024 ** 3;
/** All that an archive of nothing has. */
const endOfArchive = Buffer.alloc(1024);

/** The source's end. */
export class LayerSender {
  #before: Manifest | undefined;
  #wrong = new Set<string>();
  #round = 0;
  /** As it was found by the last round. */
  #list: Buffer | undefined;

  /** @param view the layer with its raw ids; @param mount where its file system can be synced */
  constructor(private readonly channel: HaulChannel, private readonly view: string) {}

  /** True if a round would find nothing to send just now. */
  async quiet(): Promise<boolean> {
    const { gone, changed } = difference(this.#before, (await scan(this.view)).manifest, this.#wrong);
    return gone.length + changed.length === 0;
  }

  /** True if all names are as the last round has found them, when nothing moved any more: to the kernel's tick, in which none can have been written to twice. */
  async still(): Promise<boolean> {
    return this.#list?.equals((await scan(this.view)).text) === true;
  }

  /** @param last nothing writes to the layer any more @throws HAUL_DAMAGED if the copy is not equal after the last round */
  async round(last: boolean, signal?: AbortSignal, meter?: RoundMeter): Promise<RoundStats> {
    const began = performance.now();
    let bytes = 0;
    const counted = (): Transform => new Transform({ transform: (chunk: Buffer, _, done) => {
      meter?.sent(bytes += chunk.length);
      done(null, chunk);
    } });
    const from = Date.now() / 1000;
    if (!last) await run('sync', ['--file-system', '--', this.view], { timeoutMs: syncTimeoutMs, signal });
    const { manifest, text } = await scan(this.view);
    this.#list = last ? text : undefined;
    const { gone, changed } = difference(this.#before, manifest, this.#wrong);
    meter?.expected(changed.reduce((sum, { type, size }) => sum + nameBytes + (type === 'f' ? Number(size) : 0), text.length));
    const round = ++this.#round;
    this.channel.send({ type: 'round', round, last, names: gone.length + changed.length });
    await pipeline([Buffer.from(gone.join('\0'))], this.channel.openStream(`gone-${round}`), { signal });
    const counter = counted();
    const through = pipeline(counter, this.channel.openStream(`archive-${round}`), { signal });
    const archive = changed.length > 0 ? packNames(this.view, changed, counter, last ? 'still' : 'moving', signal) : Promise.resolve(counter.end(endOfArchive));
    const list = pipeline([text], counted(), this.channel.openStream(`list-${round}`, { digest: true }), { signal });
    for (const part of await Promise.allSettled([archive, through, list])) if (part.status === 'rejected') throw part.reason;
    const answer = await this.channel.receive(['round-done'], signal);
    const wrong = Array.isArray(answer['wrong']) ? answer['wrong'].map(String) : [];
    if (last && wrong.length > 0) throw new HaulierError('HAUL_DAMAGED', { what: 'the file system', reason: `the copy differs in ${String(answer['count'])} names, as ${JSON.stringify(wrong[0])}` });
    this.#before = answer['count'] === wrong.length ? { ...manifest, from } : undefined;
    this.#wrong = new Set(wrong);
    return { names: changed.length, bytes, ms: Math.round(performance.now() - began), wrong: wrong.length };
  }
}

/**
 * Serves rounds until the last one.
 * @param folder the empty layer to fill; @param scratch an empty folder on the same file system
 * @param about.standBy called when the source is about to make the last one, with whether it expects to find anything for it
 * @param about.beforeLast called before the last one, if it changes anything
 * @returns whether the last one, which is not synced here, has changed anything
 */
export async function receiveRounds(channel: HaulChannel, folder: string, scratch: string, signal?: AbortSignal, about: { readonly standBy?: (quiet: boolean) => void; readonly beforeLast?: () => Promise<void> } = {}): Promise<boolean> {
  let known: Manifest | undefined;
  for (;;) {
    const message = await channel.receive(['round', 'stand-by'], signal);
    if (message.type === 'stand-by') {
      about.standBy?.(message['quiet'] === true);
      continue;
    }
    const last = message['last'] === true;
    const round = Number(message['round']);
    const changes = message['names'] !== 0;
    if (last && changes) await about.beforeLast?.();
    const gone = (await buffer(await channel.acceptStream(`gone-${round}`, signal))).toString('utf8');
    await removeNames(folder, gone.split('\0').filter((path) => path !== ''));
    const [archive, list] = await Promise.all([channel.acceptStream(`archive-${round}`, signal), channel.acceptStream(`list-${round}`, signal)]);
    const unpack = changes ? unpackNames(folder, archive, last ? 'still' : 'moving', signal) : nothing(archive);
    const [unpacked, text] = await Promise.allSettled([unpack, listText(list)]);
    if (unpacked.status === 'rejected') throw unpacked.reason;
    if (text.status === 'rejected') throw text.reason;
    // while it still runs there: a disk that cannot take it tells so only now
    if (!last) await run('sync', ['--file-system', '--', folder], { timeoutMs: syncTimeoutMs, signal });
    const wanted = parseManifest(text.value, 0);
    const before = changes || !known ? (await scan(folder)).manifest : known; // nobody else writes there
    const sockets = [...wanted.entries.values()].filter(({ type, path }) => type === 's' && before.entries.get(path)?.type !== 's');
    if (last) await makeSockets(folder, scratch, sockets);
    const copy = last && sockets.length > 0 ? (await scan(folder)).manifest : before;
    known = copy;
    const wrong = mistakes(wanted, copy);
    channel.send({ type: 'round-done', count: wrong.length, wrong: wrong.slice(0, maxMistakes) });
    if (last) return changes || sockets.length > 0;
  }
}

/** The archive of a round without a name is empty, or has but its end. */
async function nothing(archive: AsyncIterable<Buffer>): Promise<void> {
  for await (const chunk of archive) if (chunk.some((byte) => byte !== 0)) throw new HaulierError('HAUL_PROTOCOL', { reason: 'an archive in a round without a name' });
}

async function listText(list: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of list) {
    bytes += chunk.length;
    if (bytes > maxListBytes) throw new HaulierError('HAUL_PROTOCOL', { reason: 'the list of files is too long' });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
