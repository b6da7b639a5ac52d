#!/usr/bin/env node
/**
 * The built-in control plane: conductor and scheduler on the real RabbitMQ, and small keystone, placement, neutron, glance and
 * nova servers on loopback, all in memory and in one process. It reads Haulier's own nova.conf, so there is nothing else to
 * configure. For trying Haulier and for its tests; nothing to keep servers on.
 */
import type { Server } from 'node:http';
import { join } from 'node:path';
import { Cell, serviceVersion } from './cell/cell.js';
import { conductorEndpoints } from './cell/conductor.js';
import { insertService } from './cell/services.js';
import { novaRoutes } from './nova/api.js';
import { computeTaskEndpoint } from './nova/compute-task.js';
import type { Control } from './nova/control.js';
import { tellHost } from './nova/operations.js';
import { glanceRoutes, Images } from './rest/glance.js';
import { Inventories } from './rest/inventory.js';
import { Identity, keystoneRoutes, ports as portOf } from './rest/keystone.js';
import { makeBridge, neutronRoutes, startAgent, type OnPortEvent } from './rest/neutron.js';
import { placementRoutes } from './rest/placement.js';
import { Ports } from './rest/ports.js';
import { startRest, type RestService } from './rest/server.js';
import { readArguments } from '../../src/base/config/arguments.js';
import { loadConfig, type Config } from '../../src/base/config/load.js';
import { messageOf } from '../../src/base/errors.js';
import { createLog, type Log } from '../../src/base/log.js';
import { connectMessaging } from '../../src/messaging/messaging.js';
import { messagingOptions } from '../../src/cli/wiring.js';
import type { Endpoint } from '../../src/messaging/types.js';

/** The scheduler hears news of the hosts and does nothing with them: it asks the cell. */
const schedulerEndpoint: Endpoint = {
  namespace: undefined, version: '4.5',
  has: (method) => ['update_instance_info', 'delete_instance_info', 'sync_instance_info', 'update_aggregates', 'delete_aggregate'].includes(method),
  handle: () => Promise.resolve(null),
};

/** Names and passwords that keystone accepts: those of the configuration. */
function users(config: Config): Map<string, string> {
  return new Map([config.placement, config.neutron, config.service_user].flatMap(({ username, password }) => (username && password ? [[username, password] as const] : [])));
}

function services(control: Control, onPort: OnPortEvent): RestService[] {
  return [
    { name: 'keystone', port: portOf.keystone, routes: keystoneRoutes(control.identity) },
    { name: 'placement', port: portOf.placement, routes: placementRoutes(control.inventories) },
    { name: 'neutron', port: portOf.neutron, routes: neutronRoutes(control.ports, onPort) },
    { name: 'glance', port: portOf.glance, routes: glanceRoutes(control.images) },
    { name: 'nova', port: portOf.nova, routes: novaRoutes(control) },
  ];
}

async function serve(config: Config, log: Log): Promise<void> {
  const address = new URL(config.placement.auth_url ?? 'http://127.0.0.1:5000').hostname;
  const control: Control = {
    cell: new Cell(), inventories: new Inventories(), images: new Images(join(config.DEFAULT.state_path, 'standalone-images')), ports: new Ports(),
    identity: new Identity(users(config), address), messaging: connectMessaging(messagingOptions(config), log), log,
  };
  for (const [binary, topic] of [['nova-conductor', 'conductor'], ['nova-scheduler', 'scheduler']] as const) {
    insertService(control.cell, { host: config.DEFAULT.host, binary, topic, version: serviceVersion });
  }
  const onPort: OnPortEvent = (name, port) => void tellHost(control, name, port).catch((error: unknown) => log.warn({ err: error, port: port.id }, `cannot tell ${name}`));
  await Promise.all([control.images.load(), makeBridge()]);
  const listen = (service: RestService): Promise<Server> => startRest(service, address, (token) => control.identity.isValid(token), log);
  const { host } = config.DEFAULT;
  const rest = services(control, onPort);
  const servers = await Promise.all(rest.filter(({ name }) => name !== 'nova').map(listen));
  const agent = startAgent(control.ports, onPort, log);
  await Promise.all([
    control.messaging.serve({ topics: ['conductor'], server: host, endpoints: [...conductorEndpoints(control.cell), computeTaskEndpoint(control)] }),
    control.messaging.serve({ topics: ['scheduler'], server: host, endpoints: [schedulerEndpoint] }),
  ]);
  // last: who sees it listen may count on all the others
  servers.push(...(await Promise.all(rest.filter(({ name }) => name === 'nova').map(listen))));
  log.info({ address, ports: portOf }, 'ready');
  await new Promise<void>((resolve) => { for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => resolve()); });
  agent.stop();
  for (const server of servers) server.close().closeAllConnections();
  await control.messaging.close();
}

async function main(): Promise<void> {
  const { sources, overrides } = readArguments(process.argv.slice(2));
  const { config } = await loadConfig({ sources, overrides });
  await serve(config, createLog({ name: 'standalone', level: config.DEFAULT.debug ? 'debug' : 'info' }));
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(`standalone: ${messageOf(error)}\n`);
    process.exit(1);
  },
);
