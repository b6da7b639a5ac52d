/** `/metrics`: the service's figures as Prometheus reads them (text format 0.0.4). */
import { timeBounds, type Tally } from '../container/checkpoint/tally.js';
import type { Abilities } from '../container/abilities.js';
import type { ContainerState } from '../container/spec.js';

/** What the figures are made of. */
export interface MetricSources {
  readonly ready: boolean;
  readonly states: readonly ContainerState[];
  readonly operations: number;
  /** Undefined while the probe runs. */
  readonly abilities: Abilities | undefined;
  readonly tally: Pick<Tally, 'rows' | 'frozenTime'>;
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

/** The page. */
export function metricsPage({ ready, states: seen, operations, abilities, tally }: MetricSources): string {
  const containers = [...new Set([...states, ...seen])].map((state) => line('haulier_containers', { state }, seen.filter((other) => other === state).length));
  const times = tally.rows.flatMap(({ operation, result, count, seconds, within }) => {
    const labels = { operation, result };
    return [
      ...timeBounds.map((bound, index) => line('haulier_freeze_seconds_bucket', { ...labels, le: String(bound) }, within[index] ?? 0)),
      line('haulier_freeze_seconds_bucket', { ...labels, le: '+Inf' }, count),
      line('haulier_freeze_seconds_sum', labels, seconds),
      line('haulier_freeze_seconds_count', labels, count),
    ];
  });
  const probed = abilities === undefined ? [] : [
    ...family('haulier_criu_info', 'gauge', 'Versions of criu and the kernel.', [line('haulier_criu_info', { criu: abilities.criu ?? '', kernel: abilities.kernel }, 1)]),
    ...family('haulier_criu_fit', 'gauge', '1 if containers of this host can be suspended.', [line('haulier_criu_fit', {}, abilities.problem === undefined ? 1 : 0)]),
    ...family('haulier_criu_feature', 'gauge', '1 for each feature that criu and the kernel have.', Object.entries(abilities.features).map(([feature, there]) => line('haulier_criu_feature', { feature }, there ? 1 : 0))),
  ];
  return [
    ...family('haulier_ready', 'gauge', '1 if the service does what it is asked.', [line('haulier_ready', {}, ready ? 1 : 0)]),
    ...family('haulier_containers', 'gauge', 'Containers of this host by state.', containers),
    ...family('haulier_operations', 'gauge', 'Operations that run now.', [line('haulier_operations', {}, operations)]),
    ...probed,
    ...family('haulier_freeze_seconds', 'histogram', 'Time of suspends and resumes, by result.', times),
    ...family('haulier_frozen_seconds', 'summary', 'How long criu let containers stand still.', [
      line('haulier_frozen_seconds_sum', {}, tally.frozenTime.seconds), line('haulier_frozen_seconds_count', {}, tally.frozenTime.count),
    ]),
  ].join('\n') + '\n';
}
