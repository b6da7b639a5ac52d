/**
 * Ports that are plugged but mute: the container has its link, and nothing passes either way. Not by the bridge's port state, which a
 * carrier that comes sets to forwarding again, and not by the link, which a guest sees and whose return takes a second.
 */
import type { Log } from '../../base/log.js';
import { messageOf } from '../../base/errors.js';
import { deviceExists, ipBatch } from '../../container/network/ip.js';
import { loadRules, withoutTable } from '../../container/network/nft.js';
import type { VifSpec } from '../../container/spec.js';

const priority = -500;
/** Also of one that waits for its rules. */
const timeoutMs = 600_000;

const tableOf = (vif: VifSpec): string => `haul-${vif.hostDevice}`;
const chains = { from: 'ingress', to: 'egress' } as const;
const present = (vifs: readonly VifSpec[]): readonly VifSpec[] => vifs.filter(({ hostDevice }) => deviceExists(hostDevice));

/** A table for each: to hook one in takes the kernel four times as long as a rule more in it, and to take one away too. @param rule in each of its chains */
const tables = (vifs: readonly VifSpec[], rule: 'drop' | ''): string => present(vifs).map((vif) => {
  const each = Object.entries(chains).map(([name, hook]) => `chain ${name} {\ntype filter hook ${hook} device "${vif.hostDevice}" priority ${priority}; policy accept;\n${rule}\n}\n`);
  return `${withoutTable(tableOf(vif))}table netdev ${tableOf(vif)} {\n${each.join('')}}\n`;
}).join('');
/** One that counts before all others in it. */
const first = (vifs: readonly VifSpec[], rule: 'drop' | 'accept'): string =>
  present(vifs).flatMap((vif) => Object.keys(chains).map((name) => `insert rule netdev ${tableOf(vif)} ${name} ${rule}\n`)).join('');

/** A switch that lives in a process of its own takes frames before the kernel's rules see them: its ports lose their link instead. */
const byLink = ({ plug }: VifSpec): boolean => plug.type === 'ovs' && !plug.hybrid && plug.datapathType === 'netdev';

async function setLinks(vifs: readonly VifSpec[], up: boolean, signal?: AbortSignal): Promise<void> {
  const lines = vifs.filter((vif) => byLink(vif) && deviceExists(vif.hostDevice)).map(({ hostDevice }) => `link set dev ${hostDevice} ${up ? 'up' : 'down'}`);
  if (lines.length > 0) await ipBatch(lines, signal);
}

/** Makes plugged ports mute. Idempotent. */
export async function mutePorts(vifs: readonly VifSpec[], signal?: AbortSignal): Promise<void> {
  await setLinks(vifs, false, signal);
  await load(tables(vifs, 'drop'), signal);
}

/** Lets them speak, and takes away what there is of their rules, also when they are gone. Idempotent; never throws. @returns false if it failed, which the log tells */
export async function unmutePorts(vifs: readonly VifSpec[], log: Log): Promise<boolean> {
  return await unmuted(vifs, log, () => load(vifs.map((vif) => withoutTable(tableOf(vif))).join('')));
}

async function load(rules: string, signal?: AbortSignal): Promise<void> {
  if (rules !== '') await loadRules(rules, { timeoutMs, ...(signal ? { signal } : {}) });
}

async function unmuted(vifs: readonly VifSpec[], log: Log, work: () => Promise<void>): Promise<boolean> {
  if (vifs.length === 0) return true;
  try {
    await setLinks(vifs, true);
    await work();
    return true;
  } catch (error) {
    log.error({ err: error }, `cannot open the ports of a container that was hauled: ${messageOf(error)}`);
    return false;
  }
}

/** Ports that change at once: their tables are there, and nft is started and waits for the rule. A container stands still meanwhile. */
export class ReadyPorts {
  readonly #done: Promise<void> | undefined;
  #give: (rules: string) => void = () => undefined;

  private constructor(private readonly vifs: readonly VifSpec[]) {
    if (vifs.length === 0) return;
    this.#done = loadRules(new Promise((resolve) => { this.#give = resolve; }), { timeoutMs });
    this.#done.catch(() => undefined); // told to whoever uses it
  }

  /** Of plugged ports that speak, and will have to be mute. */
  static async toMute(vifs: readonly VifSpec[], signal?: AbortSignal): Promise<ReadyPorts> {
    await load(tables(vifs, ''), signal);
    return new ReadyPorts(vifs);
  }

  /** Of ports that `mutePorts` has made mute. */
  static toUnmute(vifs: readonly VifSpec[]): ReadyPorts {
    return new ReadyPorts(vifs);
  }

  /** As `mutePorts`. */
  async mute(signal?: AbortSignal): Promise<void> {
    await setLinks(this.vifs, false, signal);
    this.#give(first(this.vifs, 'drop'));
    await this.#done;
  }

  /** They speak; their tables are left for `unmutePorts`. Never throws. @returns false if it failed, which the log tells */
  async unmute(log: Log): Promise<boolean> {
    return await unmuted(this.vifs, log, async () => {
      this.#give(first(this.vifs, 'accept'));
      await this.#done;
    });
  }

  /** They stay as they are. After one of the others it does nothing. */
  leave(): void {
    this.#give('');
  }
}
