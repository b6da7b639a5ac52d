/** `[os_vif_ovs]` (os-vif vif_plug_ovs/ovs.py). */
import { boolean, choice, integer, text, type Section } from '../option.js';

/** The section. */
export const os_vif_ovs = {
  help: 'Open vSwitch on this host.',
  options: {
    ovsdb_connection: text({ default: 'tcp:127.0.0.1:6640', help: 'Where ovsdb-server listens: tcp:address:port, ssl:address:port, unix:path.' }),
    ovsdb_interface: choice(['vsctl', 'native'], { default: 'native', help: 'Accepted; Haulier uses ovs-vsctl.' }),
    ovs_vsctl_timeout: integer({ default: 120, deprecated: ['DEFAULT.ovs_vsctl_timeout'], help: 'Seconds that ovs-vsctl gets.' }),
    network_device_mtu: integer({ default: 1500, deprecated: ['DEFAULT.network_device_mtu'], help: 'MTU of ports whose network has none.' }),
    isolate_vif: boolean({ default: false, help: 'Put new ports on VLAN 4095 until the neutron agent has wired them.' }),
    per_port_bridge: boolean({ default: false, help: 'A bridge of its own for each port.' }),
  },
} satisfies Section;
