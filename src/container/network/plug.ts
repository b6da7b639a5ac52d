/** Plugs and unplugs ports, whatever their kind; remembers what was plugged, so that nothing stays behind after a crash. */
import { mkdir, readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readJson, writeJsonAtomic } from '../../base/atomic.js';
import { HaulierError, isHaulierError } from '../../base/errors.js';
import type { VifSpec } from '../spec.js';
import { deleteDevice, deviceExists, ipBatch } from './ip.js';
import { enslave, ensureBridge, removeBridge } from './linux-bridge.js';
import type { Ovs } from './ovs.js';
import { ensureVeth, mtuOf, parkedDevice, removeVeth } from './veth.js';

/** Devices of a hybrid port: a Linux bridge between the container and the switch, named as os-vif does. */
export function hybridDevices(vif: Pick<VifSpec, 'id'>): { readonly bridge: string; readonly bridgeEnd: string; readonly switchEnd: string } {
  const short = vif.id.slice(0, 11);
  return { bridge: `qbr${short}`, bridgeEnd: `qvb${short}`, switchEnd: `qvo${short}` };
}

/** The port that a VIF has in the switch by our doing; undefined if none. */
function switchPort(vif: VifSpec): string | undefined {
  if (vif.plug.type !== 'ovs') return undefined;
  if (vif.plug.hybrid) return hybridDevices(vif).switchEnd;
  return vif.plug.createPort ? vif.hostDevice : undefined;
}

const device = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/;
const mac = /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i;
const address = /^[0-9a-f.:]+$/i;

/** Refuses a port whose names could be anything but names: they become lines of `ip -batch`. @throws VIF_PLUG_FAILED */
export function checkVif(vif: VifSpec): void {
  const bad = (what: string, value: string): never => {
    throw new HaulierError('VIF_PLUG_FAILED', { reason: `port ${vif.id}: ${what} ${JSON.stringify(value)} is not acceptable` });
  };
  if (!/^[\w-]{1,64}$/.test(vif.id)) bad('id', vif.id);
  for (const name of [vif.hostDevice, vif.guestDevice, vif.plug.bridge]) if (!device.test(name)) bad('device name', name);
  if (!mac.test(vif.mac)) bad('MAC', vif.mac);
  for (const item of vif.addresses) if (!address.test(item.address) || !Number.isInteger(item.prefixLength)) bad('address', item.address);
  for (const route of vif.routes) {
    if (!/^[0-9a-f.:]+\/\d{1,3}$/i.test(route.destination)) bad('route', route.destination);
    if (route.gateway !== undefined && !address.test(route.gateway)) bad('gateway', route.gateway);
  }
  for (const server of vif.dns) if (!address.test(server)) bad('DNS server', server);
}

/** The ports of one host. */
export class Plugger {
  readonly #records: string;
  /** Host sides that this process has plugged, by port id: a port that was plugged ahead of its container is not plugged twice. */
  readonly #plugged = new Map<string, string>();
  /** @param mtu MTU of ports that name none */
  constructor(private readonly ovs: Ovs, runPath: string, private readonly mtu: number) {
    this.#records = join(runPath, 'ports');
  }

  /**
   * Plugs a port: record, veth pair, bridge or switch. Idempotent.
   * @param inUse the container runs and may hold the guest end
   * @throws VIF_PLUG_FAILED
   */
  async plug(instance: string, vif: VifSpec, inUse: boolean, signal?: AbortSignal): Promise<void> {
    checkVif(vif);
    await mkdir(join(this.#records, instance), { recursive: true, mode: 0o700 });
    await writeJsonAtomic(this.#record(instance, vif.id), vif);
    const side = JSON.stringify([instance, vif.hostDevice, vif.mac, mtuOf(vif, this.mtu), vif.plug]);
    if (this.#plugged.get(vif.id) === side && deviceExists(vif.hostDevice) && deviceExists(parkedDevice(vif))) return;
    try {
      await ensureVeth(vif, { inUse, mtu: this.mtu }, signal);
      await this.#connect(instance, vif, signal);
      this.#plugged.set(vif.id, side);
    } catch (error) {
      if (signal?.aborted || !isHaulierError(error, 'COMMAND_FAILED', 'COMMAND_TIMEOUT')) throw error;
      throw new HaulierError('VIF_PLUG_FAILED', { reason: error.message }, { cause: error });
    }
  }

  /** Puts a port that is plugged back to its bridge or switch, if somebody took it from there. Idempotent. @throws VIF_PLUG_FAILED, COMMAND_FAILED */
  async replug(instance: string, vif: VifSpec): Promise<void> {
    if (deviceExists(vif.hostDevice)) await this.#connect(instance, vif);
  }

  async #connect(instance: string, vif: VifSpec, signal?: AbortSignal): Promise<void> {
    const { plug } = vif;
    const port = { portId: vif.id, mac: vif.mac, instance, mtu: mtuOf(vif, this.mtu) };
    switch (plug.type) {
      case 'bridge':
        if (plug.createBridge) await ensureBridge(plug.bridge, { mtu: vif.mtu }, signal);
        await enslave(vif.hostDevice, plug.bridge, signal);
        return;
      case 'ovs':
        if (plug.hybrid) {
          await this.#connectHybrid(vif, signal);
          await this.ovs.addPort({ ...port, bridge: plug.bridge, device: hybridDevices(vif).switchEnd, datapathType: plug.datapathType }, signal);
          return;
        }
        if (plug.createPort) await this.ovs.addPort({ ...port, bridge: plug.bridge, device: vif.hostDevice, datapathType: plug.datapathType }, signal);
        await ipBatch([`link set dev ${vif.hostDevice} up`], signal);
    }
  }

  async #connectHybrid(vif: VifSpec, signal?: AbortSignal): Promise<void> {
    const { bridge, bridgeEnd, switchEnd } = hybridDevices(vif);
    const mtu = mtuOf(vif, this.mtu);
    await ensureBridge(bridge, { mtu, ageing: 0 }, signal);
    if (!deviceExists(bridgeEnd)) {
      await ipBatch([
        `link add name ${bridgeEnd} mtu ${mtu} type veth peer name ${switchEnd} mtu ${mtu}`,
        `link set dev ${bridgeEnd} addrgenmode none`,
        `link set dev ${switchEnd} addrgenmode none`,
      ], signal);
    }
    await enslave(bridgeEnd, bridge, signal);
    await ipBatch([`link set dev ${switchEnd} up`], signal);
    await enslave(vif.hostDevice, bridge, signal);
  }

  /** Takes everything of a port away, whatever is left of it. Idempotent. */
  async unplug(instance: string, vif: VifSpec): Promise<void> {
    checkVif(vif);
    const device = switchPort(vif);
    if (device !== undefined) await this.ovs.deletePort(device);
    await this.#removeDevices(vif);
    await rm(this.#record(instance, vif.id), { force: true });
    // the last port takes the instance's folder with it: a build that failed early has nothing else that would
    await rmdir(join(this.#records, instance)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT' && error.code !== 'ENOTEMPTY') throw error;
    });
  }

  async #removeDevices(vif: VifSpec): Promise<void> {
    this.#plugged.delete(vif.id);
    if (vif.plug.type === 'ovs' && vif.plug.hybrid) {
      const { bridge, bridgeEnd } = hybridDevices(vif);
      await deleteDevice(bridgeEnd);
      await removeBridge(bridge);
    }
    await removeVeth(vif);
  }

  /**
   * Takes all ports of an instance away: those given, those on record, and, where it has or had a switch port, those that the
   * switch knows by its uuid (they survive a reboot of the host, the records do not). The switch is asked once for all.
   */
  async unplugAll(instance: string, vifs: readonly VifSpec[]): Promise<void> {
    const all = [...new Map([...vifs, ...(await this.plugged(instance))].map((vif) => [vif.id, vif])).values()];
    all.forEach(checkVif);
    if (all.length === 0 || all.some((vif) => vif.plug.type === 'ovs')) await this.#clearSwitch(instance, all);
    for (const vif of all) await this.#removeDevices(vif);
    await rm(join(this.#records, instance), { recursive: true, force: true });
  }

  /** Ports of an instance that are on record. */
  async plugged(instance: string): Promise<VifSpec[]> {
    const names = await readdir(join(this.#records, instance)).catch(() => []);
    const found: VifSpec[] = [];
    for (const name of names.filter((entry) => entry.endsWith('.json'))) {
      const vif = (await readJson(join(this.#records, instance, name))) as VifSpec | undefined;
      if (vif) found.push(vif);
    }
    return found;
  }

  async #clearSwitch(instance: string, vifs: readonly VifSpec[]): Promise<void> {
    try {
      const names = await this.ovs.deletePortsOf(instance, vifs.flatMap((vif) => switchPort(vif) ?? []));
      for (const name of names) if (device.test(name)) await deleteDevice(name);
    } catch (error) {
      if (vifs.length > 0) throw error; // without any port of ours a host without Open vSwitch is in order
    }
  }

  #record(instance: string, portId: string): string {
    return join(this.#records, instance, `${portId}.json`);
  }
}
