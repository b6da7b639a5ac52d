/** `/metrics`: the service's figures as Prometheus reads them (text format 0.0.4). */
import { timeBounds, type TimingRow } from '../base/timings.js';
import type { Abilities } from '../container/abilities.js';
import type { Tally } from '../container/checkpoint/tally.js';
import type { ContainerState } from '../container/spec.js';

/** What the figures are made of. */
export interface MetricSources {
  readonly ready: boolean;
  readonly states: readonly ContainerState[];
  readonly operations: number;
  /** Undefined while the probe runs. */
  readonly abilities: Abilities | undefined;
  readonly tally: Pick<Tally, 'rows' | 'frozenTime' | 'images'>;
  readonly service: ServiceFigures;
  /** Images in the cache now. */
  readonly images: number;
  readonly hauls: HaulRows;
}

/** Figures of hauls from this host; `underWay` of those to it too. */
export interface HaulRows {
  readonly underWay: { readonly out: number; readonly in: number };
  /** Mode and result. */
  readonly hauls: readonly TimingRow[];
  /** By mode. */
  readonly frozen: readonly TimingRow[];
  readonly memoryBytes: number;
  readonly diskBytes: number;
}

/** What the rooms above count. */
export interface ServiceFigures {
  /** RPC requests that were handled: method and result, from their arrival to their answer. */
  readonly requests: readonly TimingRow[];
  /** Calls to the conductor and other services: `topic method` and result. */
  readonly calls: readonly TimingRow[];
  /** Operations that have ended. */
  readonly ended: readonly TimingRow[];
  /** Waits for events of neutron, from the plugging of the port. */
  readonly events: readonly TimingRow[];
  /** Runs of the periodic tasks. */
  readonly periodic: readonly TimingRow[];
  /** Seconds of processor time while each ran. */
  readonly periodicCpu: readonly (readonly [string, number])[];
  /** Seconds since Nova last stored a sign of life; undefined before the first. */
  readonly heartbeatAge: number | undefined;
}

const states: readonly ContainerState[] = ['running', 'paused', 'suspended', 'stopped', 'crashed'];

type Labels = Readonly<Record<string, string>>;

function line(name: string, labels: Labels, value: number): string {
  const text = Object.entries(labels).map(([label, of]) => `${label}="${of.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n')}"`).join(',');
  return `${name}${text ? `{${text}}` : ''} ${value}`;
}

function family(name: string, type: 'gauge' | 'counter' | 'histogram' | 'summary', help: string, lines: readonly string[]): string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines];
}

function histogram(name: string, help: string, rows: readonly TimingRow[], labelsOf: (row: TimingRow) => Labels): string[] {
  return family(name, 'histogram', help, rows.flatMap((row) => {
    const labels = labelsOf(row);
    return [
      ...timeBounds.map((bound, index) => line(`${name}_bucket`, { ...labels, le: String(bound) }, row.within[index] ?? 0)),
      line(`${name}_bucket`, { ...labels, le: '+Inf' }, row.count),
      line(`${name}_sum`, labels, row.seconds),
      line(`${name}_count`, labels, row.count),
    ];
  }));
}

function summary(name: string, help: string, rows: readonly TimingRow[], labelsOf: (row: TimingRow) => Labels): string[] {
  return family(name, 'summary', help, rows.flatMap((row) => [line(`${name}_sum`, labelsOf(row), row.seconds), line(`${name}_count`, labelsOf(row), row.count)]));
}

/** The page. */
export function metricsPage({ ready, states: seen, operations, abilities, tally, service, images, hauls }: MetricSources): string {
  const containers = [...new Set([...states, ...seen])].map((state) => line('haulier_containers', { state }, seen.filter((other) => other === state).length));
  const probed = abilities === undefined ? [] : [
    ...family('haulier_criu_info', 'gauge', 'Versions of criu and the kernel.', [line('haulier_criu_info', { criu: abilities.criu ?? '', kernel: abilities.kernel }, 1)]),
    ...family('haulier_criu_fit', 'gauge', '1 if containers of this host can be suspended.', [line('haulier_criu_fit', {}, abilities.problem === undefined ? 1 : 0)]),
    ...family('haulier_criu_feature', 'gauge', '1 for each feature that criu and the kernel have.', Object.entries(abilities.features).map(([feature, there]) => line('haulier_criu_feature', { feature }, there ? 1 : 0))),
  ];
  const beat = service.heartbeatAge === undefined ? [] : family('haulier_heartbeat_age_seconds', 'gauge', 'Since Nova last stored a sign of life of this service.', [line('haulier_heartbeat_age_seconds', {}, service.heartbeatAge)]);
  const cpu = process.cpuUsage();
  return [
    ...family('haulier_ready', 'gauge', '1 if the service does what it is asked.', [line('haulier_ready', {}, ready ? 1 : 0)]),
    ...beat,
    ...family('haulier_containers', 'gauge', 'Containers of this host by state.', containers),
    ...family('haulier_operations', 'gauge', 'Operations that run now.', [line('haulier_operations', {}, operations)]),
    ...summary('haulier_operation_seconds', 'Operations that have ended, by result.', service.ended, ({ name, result }) => ({ operation: name, result })),
    ...histogram('haulier_rpc_seconds', 'RPC requests, from their arrival to their answer.', service.requests, ({ name, result }) => ({ method: name, result })),
    ...histogram('haulier_rpc_call_seconds', 'Calls to the conductor and other services.', service.calls, ({ name, result }) => ({ topic: name.split(' ')[0] ?? '', method: name.split(' ')[1] ?? '', result })),
    ...histogram('haulier_event_wait_seconds', 'How long neutron and its agent took to wire a port.', service.events, ({ name, result }) => ({ event: name, result })),
    ...summary('haulier_periodic_seconds', 'Runs of the periodic tasks, by result.', service.periodic, ({ name, result }) => ({ task: name, result })),
    ...family('haulier_periodic_cpu_seconds_total', 'counter', 'CPU time of the service while a periodic task ran.', service.periodicCpu.map(([task, seconds]) => line('haulier_periodic_cpu_seconds_total', { task }, seconds))),
    ...family('haulier_images', 'gauge', 'Images in the cache.', [line('haulier_images', {}, images)]),
    ...family('haulier_image_requests_total', 'counter', 'Images that were asked for, by whether they were in the cache.', [
      line('haulier_image_requests_total', { cache: 'hit' }, tally.images.cached), line('haulier_image_requests_total', { cache: 'miss' }, tally.images.fetched),
    ]),
    ...probed,
    ...histogram('haulier_freeze_seconds', 'Time of suspends and resumes, by result.', tally.rows, ({ name, result }) => ({ operation: name, result })),
    ...family('haulier_frozen_seconds', 'summary', 'How long criu let containers stand still.', [
      line('haulier_frozen_seconds_sum', {}, tally.frozenTime.seconds), line('haulier_frozen_seconds_count', {}, tally.frozenTime.count),
    ]),
    ...family('haulier_hauls_under_way', 'gauge', 'Containers on their way between hosts, from and to this one.', (['out', 'in'] as const).map((direction) => line('haulier_hauls_under_way', { direction }, hauls.underWay[direction]))),
    ...summary('haulier_haul_seconds', 'Hauls from this host that have ended.', hauls.hauls, ({ name, result }) => ({ mode: name, result })),
    ...histogram('haulier_haul_frozen_seconds', 'How long containers stood still in hauls from this host that are done.', hauls.frozen, ({ name }) => ({ mode: name })),
    ...family('haulier_haul_bytes_total', 'counter', 'Bytes sent in hauls from this host.', [
      line('haulier_haul_bytes_total', { kind: 'memory' }, hauls.memoryBytes), line('haulier_haul_bytes_total', { kind: 'disk' }, hauls.diskBytes),
    ]),
    ...family('process_resident_memory_bytes', 'gauge', 'Memory of the service.', [line('process_resident_memory_bytes', {}, process.memoryUsage.rss())]),
    ...family('process_cpu_seconds_total', 'counter', 'CPU time of the service.', [line('process_cpu_seconds_total', {}, (cpu.user + cpu.system) / 1e6)]),
  ].join('\n') + '\n';
}
