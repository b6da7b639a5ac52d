/** The option table: everything that can be set, joined from `options/`. The type `Config` follows from it. */
import type { Section, Table, ValuesOf } from './option.js';
import { api, consoleauth, serial_console, vnc } from './options/boot-data.js';
import { compute, filter_scheduler, image_cache, libvirt, upgrade_levels, workarounds } from './options/compute.js';
import { resourceOptions, serverOptions } from './options/default-compute.js';
import { identityOptions, logOptions, messagingOptions, periodicOptions } from './options/default-service.js';
import { haulier } from './options/haulier.js';
import { notifications, oslo_messaging_notifications } from './options/notifications.js';
import { oslo_messaging_rabbit } from './options/oslo-messaging-rabbit.js';
import { os_vif_ovs } from './options/os-vif-ovs.js';
import { cinder, glance, keystone_authtoken, neutron, placement, service_user } from './options/rest-services.js';

const DEFAULT = {
  help: 'The service.',
  options: { ...identityOptions, ...messagingOptions, ...logOptions, ...periodicOptions, ...resourceOptions, ...serverOptions },
} satisfies Section;

/** All sections, in the order in which they are shown. */
export const table = {
  DEFAULT,
  haulier,
  compute,
  libvirt,
  api,
  notifications,
  oslo_messaging_notifications,
  oslo_messaging_rabbit,
  placement,
  neutron,
  glance,
  cinder,
  service_user,
  keystone_authtoken,
  os_vif_ovs,
  image_cache,
  serial_console,
  consoleauth,
  vnc,
  filter_scheduler,
  upgrade_levels,
  workarounds,
} satisfies Table;

/** The configuration: `config.DEFAULT.host`. Frozen. */
export type Config = ValuesOf<typeof table>;
