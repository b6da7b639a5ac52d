/** `[api]` and the console sections, as far as a compute service reads them (nova/conf/api.py, serial_console.py, vnc.py, consoleauth.py). */
import { boolean, integer, list, port, text, typed, type Section } from '../option.js';
import { hostAddressType, uriType } from '../types.js';

const was = (name: string): { readonly deprecated: readonly string[] } => ({ deprecated: [`DEFAULT.${name}`] });

/** `[api]`: metadata on the config drive. */
export const api = {
  help: 'Metadata, as it is on the config drive.',
  options: {
    dhcp_domain: text({ default: 'novalocal', ...was('dhcp_domain'), help: 'Domain appended to host names in the metadata; empty: none.' }),
    config_drive_skip_versions: text({
      default: '1.0 2007-01-19 2007-03-01 2007-08-29 2007-10-10 2007-12-15 2008-02-01 2008-09-01',
      ...was('config_drive_skip_versions'),
      help: 'EC2 metadata versions that are left out of the config drive.',
    }),
    enable_instance_password: boolean({ default: true, ...was('enable_instance_password'), help: 'The answer to a boot holds the admin password.' }),
    vendordata_providers: list({ default: ['StaticJSON'], ...was('vendordata_providers'), help: 'Where vendor data comes from: StaticJSON, DynamicJSON.' }),
    vendordata_jsonfile_path: text({ ...was('vendordata_jsonfile_path'), help: 'File of the static vendor data.' }),
    vendordata_dynamic_targets: list({ default: [], ...was('vendordata_dynamic_targets'), help: 'name@URL of dynamic vendor data.' }),
    vendordata_dynamic_connect_timeout: integer({ default: 5, min: 3, ...was('vendordata_dynamic_connect_timeout'), help: 'Seconds to connect to them.' }),
    vendordata_dynamic_read_timeout: integer({ default: 5, min: 0, ...was('vendordata_dynamic_read_timeout'), help: 'Seconds to wait for their answer.' }),
    vendordata_dynamic_failure_fatal: boolean({ default: false, help: 'A server does not boot without them.' }),
    vendordata_dynamic_ssl_certfile: text({ default: '', ...was('vendordata_dynamic_ssl_certfile'), help: 'PEM file with the authorities to trust for them.' }),
  },
} satisfies Section;

/** `[serial_console]`. */
export const serial_console = {
  help: 'Serial consoles through nova-serialproxy.',
  options: {
    enabled: boolean({ default: false, help: 'Offer them.' }),
    base_url: typed(uriType, { default: 'ws://127.0.0.1:6083/', help: 'URL of the proxy, as given to users.' }),
    port_range: text({ default: '10000:20000', help: 'Ports on this host for them, first:last.' }),
    proxyclient_address: text({ default: '127.0.0.1', help: 'Address of this host that the proxy connects to.' }),
    serialproxy_host: text({ default: '0.0.0.0', help: 'Address the proxy listens on.' }),
    serialproxy_port: port({ default: 6083, help: 'Port the proxy listens on.' }),
  },
} satisfies Section;

/** `[vnc]`: containers have no screen; read so that a request can be refused as nova-compute refuses it. */
export const vnc = {
  help: 'VNC consoles. Containers have none.',
  options: {
    enabled: boolean({ default: true, deprecated: ['DEFAULT.vnc_enabled'], help: 'Ignored.' }),
    novncproxy_base_url: typed(uriType, { default: 'http://127.0.0.1:6080/vnc_auto.html', ...was('novncproxy_base_url'), help: 'Ignored.' }),
    server_listen: typed(hostAddressType, { default: '127.0.0.1', help: 'Ignored.' }),
    server_proxyclient_address: typed(hostAddressType, { default: '127.0.0.1', help: 'Ignored.' }),
  },
} satisfies Section;

/** `[consoleauth]`. */
export const consoleauth = {
  help: 'Console tokens.',
  options: {
    token_ttl: integer({ default: 600, min: 0, deprecated: ['DEFAULT.console_token_ttl'], help: 'Seconds for which a console\'s URL is good.' }),
  },
} satisfies Section;
