/** `haulier`: runs the compute service until a signal ends it. */
import { mkdir } from 'node:fs/promises';
import { basename, isAbsolute, join } from 'node:path';
import { haulCommands } from './haul-service.js';
import { templateCommands } from './template.js';
import { computeSettings, containerOptions, haulSettings, messagingOptions, openstackOptions } from './wiring.js';
import type { Config, LoadedConfig } from '../base/config/load.js';
import { HaulierError, isHaulierError, messageOf } from '../base/errors.js';
import { createLog, hideSecret, type Log } from '../base/log.js';
import { LogFile } from '../base/log-file.js';
import type { OperationView } from '../base/operation.js';
import { decideHaul } from '../compute/live/decide.js';
import { HaulDoor } from '../compute/live/haul-door.js';
import { HaulTransport } from '../compute/moves/haul-transport.js';
import { ComputeService } from '../compute/service.js';
import { takeHost } from '../container/host-lock.js';
import { LocalContainerHost } from '../container/local-container-host.js';
import { startControl } from '../http/control.js';
import { startHttp } from '../http/server.js';
import { connectMessaging } from '../messaging/messaging.js';
import { Notifier } from '../nova/notifications.js';
import { createOpenstack } from '../openstack/openstack.js';

/** The log, and what opens its file anew after a rotation. */
export interface OpenLog {
  readonly log: Log;
  reopen(): void;
}

/** Where log records go: `log_file` under `log_dir`, with `use_stderr` to standard error too; else there alone (oslo_log). On a terminal they are for people. */
export async function openLog(config: Config): Promise<OpenLog> {
  const { log_file: file, log_dir: folder, debug, use_stderr: stderr, use_json: json } = config.DEFAULT;
  const name = file ?? (folder ? `${basename(process.argv[1] ?? 'haulier', '.js')}.log` : undefined);
  const level = debug ? 'debug' : 'info';
  const pretty = Boolean(process.stderr.isTTY) && !json;
  if (!name) return { log: createLog({ level, pretty }), reopen: () => undefined };
  const path = folder && !isAbsolute(name) ? join(folder, name) : name;
  if (folder) await mkdir(folder, { recursive: true });
  const out = await LogFile.open(path);
  return { log: stderr ? createLog({ level, pretty, also: out }) : createLog({ level, out }), reopen: () => out.reopen() };
}

/** Every secret of the configuration, and the passwords inside its URLs, wherever an error of whatever library would repeat them. */
function hideSecrets({ settings }: LoadedConfig): void {
  for (const { value, secret } of settings) {
    for (const text of secret ? [value].flat() : []) {
      if (typeof text !== 'string') continue;
      if (!text.includes('://')) hideSecret(text, true);
      for (const [, password = ''] of text.matchAll(/:([^:/@,\s]+)@/g)) {
        hideSecret(password, true);
        if (/^(%[0-9a-f]{2}|[^%])*$/i.test(password)) hideSecret(decodeURIComponent(password), true);
      }
    }
  }
}

/** Runs until SIGTERM or SIGINT. @returns the exit code */
export async function serve(loaded: LoadedConfig): Promise<number> {
  const { config } = loaded;
  hideSecrets(loaded);
  const { log, reopen } = await openLog(config);
  for (const warning of loaded.warnings) log.warn(warning);
  const stopping = new AbortController();
  const ended = new Promise<void>((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) {
      process.on(name, () => {
        log.info({ signal: name }, 'stopping');
        stopping.abort(new Error(`stopped by ${name}`));
        resolve();
      });
    }
  });
  process.on('SIGHUP', () => {
    reopen();
    log.info('the log was opened anew');
  });
  process.on('unhandledRejection', (error) => log.error({ err: error }, 'unhandled rejection'));
  const place = await takeHost({ ...containerOptions(config), statePath: config.DEFAULT.state_path });
  const messaging = connectMessaging(messagingOptions(config), log);
  const openstack = createOpenstack(openstackOptions(config), log);
  const { notifications: { notification_format: format, versioned_notifications_topics: versionedTopics }, oslo_messaging_notifications: outlet } = config;
  // a bus of its own for notifications where `transport_url` of that section says so
  const bus = outlet.transport_url ? connectMessaging({ ...messagingOptions(config), transportUrl: outlet.transport_url }, log) : messaging;
  const enabled = outlet.driver.some((driver) => driver !== 'noop' && driver !== '');
  const notifications = new Notifier(enabled ? bus.notify : undefined, { host: config.DEFAULT.host, format, topics: outlet.topics, versionedTopics }, log);
  const containers = new LocalContainerHost(containerOptions(config), log);
  const hauls = new HaulDoor(containers, haulSettings(config), log);
  const service = new ComputeService({
    settings: computeSettings(loaded), log, messaging, containers, notifications,
    hauls, transport: hauls.equipped ? new HaulTransport(() => hauls.server, haulSettings(config), () => containers.parts, log) : undefined,
    placement: openstack.placement, neutron: openstack.neutron, glance: openstack.glance,
    prefetch: () => openstack.keystone.prefetch(stopping.signal),
  });
  const operations = (): OperationView[] => (service.compute?.operations.running ?? []).map((operation) => operation.view());
  const http = config.haulier.http_listen === 'off' ? undefined : await startHttp(config.haulier.http_listen, {
    notReady: () => service.notReady,
    containers: () => containers.list(),
    verdict: (id) => containers.verdict(id),
    abilities: () => service.compute?.tracker.abilities,
    tally: containers.tally,
    operations,
    images: () => containers.images(),
    hauls: hauls.board,
    figures: () => ({
      requests: messaging.timings.requests.rows, calls: messaging.timings.calls.rows,
      ended: service.compute?.operations.ended.rows ?? [], events: service.compute?.events.waited.rows ?? [], heartbeatAge: service.heartbeatAge,
    }),
  }, log);
  const forHauls = haulCommands({ board: hauls.board, decide: async (id, outcome) => {
    const { compute } = service;
    if (!compute) throw new HaulierError('INSTANCE_BUSY', { instance: id, operation: 'the start of the service' });
    await decideHaul(compute, id, outcome, () => hauls.decide(id, outcome));
  } });
  const control = await startControl(config.haulier.run_path, { operations: async () => operations(), ...forHauls.commands, ...templateCommands(containers, async (id, name, work) => {
    const { compute } = service;
    if (!compute) throw new HaulierError('INSTANCE_BUSY', { instance: id, operation: 'the start of the service' });
    return await compute.locks.hold(id, () => compute.operations.run({ name, instance: id }, work));
  }) }, log, forHauls.streams);
  let code = 0;
  try {
    await service.start(stopping.signal);
    await ended;
  } catch (error) {
    if (!stopping.signal.aborted) {
      log.fatal({ err: error }, `cannot start: ${messageOf(error)}${isHaulierError(error) ? ` ${error.advice}` : ''}`);
      code = 1;
    }
  }
  await service.stop(config.DEFAULT.manager_shutdown_timeout * 1000);
  await messaging.close();
  if (bus !== messaging) await bus.close();
  await openstack.close();
  await http?.close();
  await control.close();
  place.release();
  log.info('stopped');
  return code;
}
