/** What a boot asks for in networks: `NetworkRequestList` (contract F.1). */
import type { NovaObject } from './object.js';

/** One requested interface. */
export interface RequestedNetwork {
  readonly networkId: string | undefined;
  /** An existing port; it is kept when the server is deleted. */
  readonly portId: string | undefined;
  /** Fixed address wanted on `networkId`. */
  readonly address: string | undefined;
  readonly tag: string | undefined;
  readonly pciRequestId: string | undefined;
  readonly deviceProfile: string | undefined;
  readonly arqUuid: string | undefined;
}

/** `auto`: what the project has; `none`: no interface at all; or the interfaces in their order. */
export type RequestedNetworks = 'auto' | 'none' | readonly RequestedNetwork[];

/** Reads a `NetworkRequestList`; a missing or empty one is `auto` (nova/network/neutron.py). */
export function requestedNetworks(list: NovaObject | undefined): RequestedNetworks {
  const requests = list?.objects() ?? [];
  const first = requests[0]?.text('network_id');
  if (requests.length === 0) return 'auto';
  if (requests.length === 1 && (first === 'auto' || first === 'none')) return first;
  return requests.map((request) => ({
    networkId: request.text('network_id'),
    portId: request.text('port_id'),
    address: request.text('address'),
    tag: request.text('tag'),
    pciRequestId: request.text('pci_request_id'),
    deviceProfile: request.text('device_profile'),
    arqUuid: request.text('arq_uuid'),
  }));
}
