/** Opens a connection to the host that a container goes to. */
import { connect, type TLSSocket } from 'node:tls';
import { isIP } from 'node:net';
import { HaulierError, isHaulierError, messageOf } from '../base/errors.js';
import { isHost, readCredentials } from './credentials.js';
import type { HaulSettings } from './settings.js';
import { HaulChannel, type ChannelOptions, type Message } from './wire/channel.js';
import { greetServer, ownVersion } from './wire/greeting.js';
import { unpacks } from './wire/packing.js';

/** The other host. */
export interface Peer {
  /** Its name, which its certificate must bear. */
  readonly host: string;
  readonly address: string;
  readonly port: number;
}

const connectMs = 10_000;

/** Opens a haul that the peer expects. @throws HAUL_OFF, HAUL_UNREACHABLE, HAUL_REFUSED, HAUL_VERSION, HAUL_LOST */
export async function openHaul(settings: HaulSettings, peer: Peer, haul: { readonly token: string; readonly instance: string }, options: ChannelOptions = {}, signal?: AbortSignal): Promise<HaulChannel> {
  const channel = await introduce(settings, peer, { type: 'haul', token: haul.token, instance: haul.instance, unpacks }, { ...(settings.compression ? { compression: settings.compression } : {}), ...options }, signal);
  try {
    channel.mayPack((await channel.receive(['welcome'], signal))['unpacks']);
    return channel;
  } catch (error) {
    throw channel.abort(error as Error);
  }
}

/** Opens a connection to ask what became of a haul. @throws as `openHaul` */
export async function openInquiry(settings: HaulSettings, peer: Peer, inquiry: { readonly haul: string; readonly secret: string }, options: ChannelOptions = {}, signal?: AbortSignal): Promise<HaulChannel> {
  return await introduce(settings, peer, { type: 'inquiry', haul: inquiry.haul, secret: inquiry.secret }, options, signal);
}

/** The first minor version that can be asked `examine`. */
const examineMinor = 1;

/** Opens a connection to ask what a container would find there (`examination.ts`). @throws as `openHaul`; HAUL_VERSION where the peer is too old to be asked */
export async function openExamination(settings: HaulSettings, peer: Peer, question: Readonly<Record<string, unknown>>, signal?: AbortSignal): Promise<HaulChannel> {
  return await introduce(settings, peer, { type: 'examine', host: settings.host, question }, {}, signal, examineMinor);
}

async function introduce(settings: HaulSettings, peer: Peer, hello: Message, options: ChannelOptions, signal?: AbortSignal, needsMinor = 0): Promise<HaulChannel> {
  const credentials = await readCredentials(settings);
  signal?.throwIfAborted();
  const unreachable = (error: unknown): HaulierError => new HaulierError('HAUL_UNREACHABLE', { host: peer.host, address: `${peer.address}:${peer.port}`, reason: messageOf(error) }, { cause: error });
  const local = isIP(settings.address) === isIP(peer.address) && isIP(peer.address) !== 0 ? { localAddress: settings.address } : {};
  // the name is checked below, by ourselves: an address in `host` would be looked for instead
  const socket = connect({ ...credentials, ...local, host: peer.address, port: peer.port, rejectUnauthorized: true, checkServerIdentity: () => undefined });
  socket.on('error', () => undefined); // the channel tells
  socket.setNoDelay(true);
  const late = setTimeout(() => socket.destroy(new Error(`no answer within ${connectMs / 1000} s`)), connectMs);
  const onAbort = (): void => void socket.destroy(signal?.reason as Error);
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    await secured(socket).catch((error: unknown) => { throw unreachable(error); });
    if (!isHost(socket, peer.host)) throw unreachable(new Error(`its certificate is not that of ${peer.host}`));
    const spoken = await greetServer(socket).catch((error: unknown) => { throw isHaulierError(error, 'HAUL_VERSION') ? error : unreachable(error); });
    if (spoken.minor < needsMinor) throw new HaulierError('HAUL_VERSION', { theirs: `${spoken.major}.${spoken.minor}`, ours: `${ownVersion.major}.${ownVersion.minor}` });
    const channel = new HaulChannel(socket, 'client', options);
    channel.send(hello);
    return channel;
  } catch (error) {
    socket.destroy();
    throw signal?.aborted ? signal.reason : error;
  } finally {
    clearTimeout(late);
    signal?.removeEventListener('abort', onAbort);
  }
}

function secured(socket: TLSSocket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('secureConnect', resolve);
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('the connection was closed')));
  });
}
