/** Ports between two hosts: they keep their server and lose their host (nova/network/neutron.py `cleanup_instance_network_on_host`, contract C.10). */
import type { Compute } from '../compute.js';
import { uuidOf } from '../compute.js';
import { refreshVifs } from './info-cache.js';
import { serviceScope } from '../scope.js';
import { isHaulierError } from '../../base/errors.js';
import type { WireContext } from '../../messaging/types.js';
import type { NovaObject } from '../../nova/object.js';

/** What a host has written into a port's profile. */
const ofTheHost = new Set(['migrating_to', 'allocation', 'pci_vendor_info', 'pci_slot', 'physical_network', 'card_serial_number', 'pf_mac_address', 'vf_num']);

/** Takes the server's ports off this host; ports of other hosts are left alone. Idempotent. The info cache follows. */
export async function releasePorts(compute: Compute, context: WireContext, instance: NovaObject): Promise<void> {
  const scope = serviceScope(context);
  const ports = await compute.neutron.ports(scope, { device_id: uuidOf(instance) });
  await Promise.all(ports.filter((port) => port['binding:host_id'] === compute.settings.host).map(async (port) => {
    const profile = Object.fromEntries(Object.entries(port['binding:profile'] ?? {}).filter(([key]) => !ofTheHost.has(key)));
    try {
      await compute.neutron.updatePort(scope, port.id, { 'binding:host_id': null, 'binding:profile': profile });
    } catch (error) {
      if (!isHaulierError(error, 'PORT_NOT_FOUND')) throw error;
    }
  }));
  const vifs = await refreshVifs(compute, context, uuidOf(instance));
  instance.object('info_cache')?.load('network_info', JSON.stringify(vifs));
}
