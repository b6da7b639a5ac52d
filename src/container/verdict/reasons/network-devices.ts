/** Network devices of the guest's own making. */
import type { Reason } from '../reason.js';

/** Made by the kernel in every namespace, by modules. */
const builtIn = /^(lo|tunl0|gre0|gretap0|erspan0|ip_vti0|ip6_vti0|sit0|ip6tnl0|ip6gre0)$/;

export const networkDevices: Reason = {
  code: 'network-devices', effect: 'loses', passing: false,
  about: 'The guest made network devices itself (bridges, tunnels, VLANs): only those that the host gave it come back.',
  find: (guest) => guest.devices.filter((device) => !builtIn.test(device) && !guest.ownDevices.includes(device)).map((device) => `the network device ${device} was made in the container and would not come back`),
};
