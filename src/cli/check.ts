/** `haulier check`: what this host and its control plane lack, each line with what to do. */
import { setTimeout as sleep } from 'node:timers/promises';
import { computeSettings, containerOptions, messagingOptions, openstackOptions } from './wiring.js';
import type { LoadedConfig } from '../base/config/load.js';
import { isHaulierError, messageOf } from '../base/errors.js';
import { silentLog } from '../base/log.js';
import { readComputeId } from '../compute/node-identity.js';
import { probeHost, type ProbeLine } from '../container/probe.js';
import { connectMessaging } from '../messaging/messaging.js';
import { NovaConductor } from '../nova/conductor.js';
import { createOpenstack } from '../openstack/openstack.js';

const waitMs = 8000;

async function line(what: string, advice: string, work: () => Promise<string>): Promise<ProbeLine> {
  try {
    return { what, ok: true, detail: await work(), advice: '' };
  } catch (error) {
    return { what, ok: false, detail: messageOf(error), advice: isHaulierError(error) ? error.advice : advice };
  }
}

async function conductor(loaded: LoadedConfig): Promise<string> {
  const messaging = connectMessaging(messagingOptions(loaded.config), silentLog());
  try {
    const client = new NovaConductor(messaging.client, silentLog());
    const late = AbortSignal.timeout(waitMs);
    await Promise.race([client.connect(late), sleep(waitMs + 500).then(() => { throw new Error(`no answer within ${waitMs / 1000} s`); })]);
    return `answers, release ${client.release}, service version ${client.serviceVersion}`;
  } finally {
    await messaging.close();
  }
}

async function rest(loaded: LoadedConfig): Promise<ProbeLine[]> {
  let openstack;
  try {
    openstack = createOpenstack(openstackOptions(loaded.config), silentLog());
  } catch (error) {
    return [{ what: 'credentials', ok: false, detail: messageOf(error), advice: isHaulierError(error) ? error.advice : '' }];
  }
  const { keystone, placement, neutron } = openstack;
  try {
    const signal = AbortSignal.timeout(waitMs);
    const login = await line('keystone', 'Is auth_url right, and is keystone up?', async () => { await keystone.prefetch(signal); return 'accepts the credentials'; });
    if (!login.ok) return [login];
    return [
      login,
      await line('placement', 'Is the endpoint in the catalog, and placement up?', async () => {
        const own = await readComputeId(computeSettings(loaded));
        return own ? `answers; this provider holds ${Object.keys(await placement.inventories(own)).join(', ') || 'no inventory yet'}` : 'not asked: no compute_id yet, this host is new';
      }),
      await line('neutron', 'Is the endpoint in the catalog, and neutron up?', async () => `answers, ${(await neutron.extensions({ requestId: undefined, signal, identity: { kind: 'service' } })).size} extensions`),
    ];
  } finally {
    await openstack.close();
  }
}

/** Checks everything. @returns 0 if nothing is missing, else 1 */
export async function check(loaded: LoadedConfig, print: (line: string) => void): Promise<number> {
  const host = await probeHost(containerOptions(loaded.config));
  const cloud = [await line('conductor', 'Is transport_url right, and are RabbitMQ and nova-conductor up?', () => conductor(loaded)), ...(await rest(loaded))];
  const all = [...host, ...cloud];
  for (const { what, ok, lacking, detail, advice } of all) print(`${!ok ? 'MISSING' : lacking ? 'lacks  ' : 'ok     '} ${what}: ${detail}${advice ? ` -> ${advice}` : ''}`);
  return all.every(({ ok }) => ok) ? 0 : 1;
}
