/** The door to the haul room tells of a container that has come, and of nothing else. */
import test from 'ava';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '../../../src/base/log.js';
import { HaulDoor } from '../../../src/compute/live/haul-door.js';
import type { HaulSettings } from '../../../src/haul/settings.js';
import type { ContainerSpec } from '../../../src/container/spec.js';
import type { LocalContainerHost } from '../../../src/container/local-container-host.js';
import { Hauler, type ExpectedLiveHaul } from '../../../src/haul/hauler.js';
import { broken } from './live-hosts.js';
import { FakeContainers } from './fakes.js';
import { Steps } from './steps.js';
import { uuid } from './world.js';

test.serial('an arrival is told, a failure is not', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'door-'));
  const { expect } = Hauler.prototype;
  t.teardown(async () => {
    Hauler.prototype.expect = expect;
    await rm(folder, { recursive: true });
  });
  const asked: ExpectedLiveHaul[] = [];
  Hauler.prototype.expect = (haul) => { asked.push(haul); return { token: 't', cancel: () => undefined }; };
  const door = new HaulDoor({ parts: { options: { instancesPath: folder } } } as unknown as LocalContainerHost, { host: 'here', address: '192.0.2.1', port: 0 } as HaulSettings, silentLog());
  await door.start();
  t.teardown(() => door.stop());
  const containers = new FakeContainers(new Steps());
  containers.put(uuid, 'running');
  const arrived = (await containers.spec(uuid)) as ContainerSpec;
  let told = 0;
  const onArrival = (): void => { told++; };
  Object.defineProperty(door.server, 'port', { get: () => 1 });
  door.expect({ instance: uuid, migration: 'm', from: { host: 'there', address: '192.0.2.2', port: 1 }, vifs: [], onArrival });
  asked[0]?.onEnd?.({ error: broken() });
  t.is(told, 0);
  asked[0]?.onEnd?.({ arrived });
  t.is(told, 1);
});
