/** Rules between options. */
import type { Setting } from './resolve.js';
import type { ConfigProblem } from './problems.js';
import type { Config } from './table.js';

interface Rule {
  /** `section.option` that is named in the error. */
  readonly of: readonly [string, string];
  readonly broken: (config: Config) => boolean;
  readonly problem: string;
}

const rabbit = 'oslo_messaging_rabbit';

const rules: readonly Rule[] = [
  // impl_rabbit.py _get_queue_arguments and Connection.__init__ refuse these three
  {
    of: [rabbit, 'rabbit_quorum_queue'],
    broken: ({ oslo_messaging_rabbit: o }) => o.rabbit_quorum_queue && o.rabbit_ha_queues,
    problem: 'cannot be true together with rabbit_ha_queues',
  },
  {
    of: [rabbit, 'rabbit_stream_fanout'],
    broken: ({ oslo_messaging_rabbit: o }) => o.rabbit_stream_fanout && o.rabbit_qos_prefetch_count <= 0,
    problem: 'needs rabbit_qos_prefetch_count greater than 0',
  },
  {
    of: [rabbit, 'rabbit_stream_fanout'],
    broken: ({ oslo_messaging_rabbit: o }) => o.rabbit_stream_fanout && !o.rabbit_transient_quorum_queue,
    problem: 'needs rabbit_transient_quorum_queue',
  },
  {
    of: ['haulier', 'subid_ranges'],
    // 2^32 - 1 is no id: it means "unchanged" to chown(2)
    broken: ({ haulier: o }) => o.subid_base + o.subid_ranges * 65536 > 0xffffffff,
    problem: 'subid_base + subid_ranges * 65536 goes beyond the last id, 4294967294',
  },
  ...(['haul_ca', 'haul_cert', 'haul_key'] as const).map((name): Rule => ({
    of: ['haulier', name],
    broken: ({ haulier: o }) => o[name] === undefined && (o.haul_ca ?? o.haul_cert ?? o.haul_key) !== undefined,
    problem: 'is needed where one of haul_ca, haul_cert and haul_key is set',
  })),
];

/** The rules that `config` breaks. */
export function checkTogether(config: Config, settings: readonly Setting[]): ConfigProblem[] {
  return rules
    .filter((rule) => rule.broken(config))
    .map(({ of: [section, option], problem }) => ({
      where: settings.find((setting) => setting.section === section && setting.name === option)?.origin ?? 'default',
      section,
      option,
      problem,
    }));
}
