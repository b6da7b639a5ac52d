/** Ends of hauls that do not go as they should, over parts of which all but a few are missing: whoever touches another one fails. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { silentLog } from '../../../src/base/log.js';
import { Operation } from '../../../src/base/operation.js';
import { HaulDoor } from '../../../src/compute/live/haul-door.js';
import type { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { HostParts } from '../../../src/container/parts.js';
import { unquiesce } from '../../../src/container/quiesce.js';
import { Hauler } from '../../../src/haul/hauler.js';
import { LiveDestination } from '../../../src/haul/live/destination.js';
import { HaulRecords } from '../../../src/haul/live/record.js';
import { relayPages } from '../../../src/haul/memory/relay.js';
import type { HaulSettings } from '../../../src/haul/settings.js';
import type { HaulChannel } from '../../../src/haul/wire/channel.js';
import { Authority } from '../../lib/certificates.js';

const instance = '11111111-2222-3333-4444-555555555555';
const ids = ['00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002'] as const;
const log = silentLog();
const operation = (): Operation => new Operation({ name: 'test', log });
const settings: HaulSettings = { host: 'host-b', ca: undefined, cert: undefined, key: undefined, address: '127.0.0.1', port: 0, bandwidthMiB: 0, policy: { mode: 'auto', permitPostCopy: false } };
const record = (haul: string) => ({ version: 1, haul, instance, peer: { host: 'host-a', address: '127.0.0.1', port: 1 }, secret: 's' }) as const;

function folder(t: ExecutionContext): string {
  const made = mkdtempSync(join(tmpdir(), 'haulier-ends-'));
  t.teardown(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

function partsIn(path: string, more: Record<string, unknown> = {}): HostParts {
  const known: Record<string, unknown> = { options: { instancesPath: path, cgroupParent: 'haulier' }, log, ...more };
  return new Proxy({}, { get: (_, name) => { if (typeof name === 'string' && name in known) return known[name]; throw new Error(`${String(name)} is touched`); } }) as HostParts;
}

async function until(found: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await found())) await sleep(10);
}

test('a haul that was only prepared is forgotten where a later one has offered the container; it thaws nothing', async (t) => {
  const path = folder(t);
  const records = new HaulRecords(path);
  await records.write({ ...record(ids[0]), role: 'source', phase: 'preparing' });
  await records.write({ ...record(ids[1]), role: 'source', phase: 'offered' });
  const hauler = new Hauler(partsIn(path), settings, { watch: async () => undefined, startContainer: async () => undefined, stopContainer: async () => undefined, resume: async () => undefined, pause: async () => undefined }, log);
  const open = await hauler.start();
  t.deepEqual([...open.keys()], [instance]);
  t.is(await records.read(ids[0], 'source'), undefined);
  await t.throwsAsync(hauler.haul(instance, record(ids[0]).peer, 'token', operation()), { code: 'INSTANCE_STATE' }, 'its failure would let it go');
  await hauler.stop();
  await open.get(instance);
  t.is((await records.read(ids[1], 'source'))?.phase, 'offered');
});

test('a container that cannot be let go at first is let go later, and is not forgotten until then', async (t) => {
  const path = folder(t);
  let failing = true;
  const store = { readSpec: async () => ({ id: instance, vifs: [] }), readState: async () => ({ phase: 'ready' }), running: async () => undefined, paths: () => ({ folder: path, criuConfig: join(path, 'criu.conf') }) };
  const unopened = new Map<string, { open(runs: () => void): Promise<void> }>();
  const port = new LiveDestination({ parts: partsIn(path, { store }), records: new HaulRecords(path), settings, watch: async () => { if (failing) throw new Error('no'); }, unopened }, { ...record(ids[0]), role: 'destination' }, operation(), 'committed');
  await port.open(() => undefined);
  t.is(unopened.get(ids[0]), port);
  failing = false;
  await unopened.get(ids[0])?.open(() => undefined);
  t.is(unopened.size, 0);
});

test('a haul that is refused because the instance is here leaves the ports of that one alone', async (t) => {
  const path = folder(t);
  const parts = partsIn(path, { store: { exists: async () => true, readState: async () => ({ phase: 'ready' }) }, plugger: { plugged: async () => [{ id: 'p', hostDevice: 'tap-none', plug: { type: 'bridge' } }], unplugAll: () => t.fail('unplugged') } });
  const port = new LiveDestination({ parts, records: new HaulRecords(path), settings, watch: async () => undefined, unopened: new Map() }, { ...record(ids[0]), role: 'destination' }, operation(), { channel: {} as HaulChannel, facts: {} as never, respec: undefined });
  await port.discard();
  t.pass();
});

/** A channel of two streams, and criu's socket. */
function relay(endMs: number): { incoming: PassThrough; daemon: PassThrough; heard: PassThrough; socket: Duplex; done: Promise<void> } {
  const [out, incoming, daemon, heard] = [new PassThrough(), new PassThrough(), new PassThrough(), new PassThrough()];
  out.resume();
  for (const stream of [out, incoming]) stream.on('error', () => undefined); // as the streams of a channel do
  const socket = Duplex.from({ readable: daemon, writable: heard });
  return { incoming, daemon, heard, socket, done: relayPages({ openStream: () => out, acceptStream: async () => incoming } as unknown as HaulChannel, 'destination', socket, { endMs }) };
}

test('pages that end before the page daemon did are lost, and it is not told of their end', async (t) => {
  const cut = relay(10);
  cut.incoming.end('some');
  await t.throwsAsync(cut.done, { code: 'HAUL_LOST' });
  t.false(cut.socket.writableEnded);
  const whole = relay(600_000);
  whole.heard.resume();
  whole.incoming.end('all');
  await sleep(10);
  whole.daemon.end();
  await t.notThrowsAsync(whole.done);
});

test('unquiescing lets go what is ready, and nothing that is being dumped or hauled', async (t) => {
  for (const [phase, expected] of [['departing', 'FROZEN'], ['suspending', 'FROZEN'], ['ready', 'THAWED']] as const) {
    const path = folder(t);
    const group = join(path, 'haulier', instance);
    mkdirSync(group, { recursive: true });
    writeFileSync(join(group, 'freezer.state'), 'FROZEN');
    writeFileSync(join(path, 'quiesced'), '');
    const store = { running: async () => ({ pid: 1 }), readState: async () => ({ phase, wanted: 'running' }), paths: () => ({ run: path, folder: path }) };
    await unquiesce(partsIn(path, { store, cgroups: { v1: new Map([['freezer', path]]) } }), instance);
    t.is(readFileSync(join(group, 'freezer.state'), 'utf8'), expected, phase);
    t.throws(() => readFileSync(join(path, 'quiesced')), { code: 'ENOENT' });
  }
});

test('a listener whose address is taken listens when it is free', async (t) => {
  const authority = new Authority();
  t.teardown(() => rmSync(authority.folder, { recursive: true, force: true }));
  const squatter = createServer();
  await new Promise<void>((resolve) => squatter.listen(0, '127.0.0.1', resolve));
  const { port } = squatter.address() as AddressInfo;
  const door = new HaulDoor({ parts: partsIn(folder(t)) } as unknown as LocalContainerHost, { ...settings, ...authority.host('host-b'), port }, log, 10);
  await door.start();
  const expect = (): void => void door.expect({ instance, migration: 'm', from: record(ids[0]).peer, vifs: [], onArrival: () => undefined });
  t.throws(expect, { code: 'HAUL_OFF' });
  await new Promise<void>((resolve) => void squatter.close(() => resolve()));
  await until(() => { try { expect(); return true; } catch { return false; } });
  await door.stop();
});
