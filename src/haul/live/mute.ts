/**
 * Ports that are plugged but mute: the container has its link, and nothing passes either way. Not by the bridge's port state, which a
 * carrier that comes sets to forwarding again, and not by the link, which a guest sees and whose return takes a second.
 */
import { run } from '../../base/run.js';
import type { Log } from '../../base/log.js';
import { messageOf } from '../../base/errors.js';
import { deviceExists, ipBatch } from '../../container/network/ip.js';
import type { VifSpec } from '../../container/spec.js';

/** By its path: under npm another `nft`, a tool of JavaScript packers, comes first in PATH. */
const nftCommand = '/usr/sbin/nft';
const priority = -500;
/** Also of one that waits for its rules. */
const timeoutMs = 600_000;

const tableOf = (vif: VifSpec): string => `haul-${vif.hostDevice}`;
/** In one transaction; the first line makes the second one possible. */
const withoutTable = (vif: VifSpec): string => `table netdev ${tableOf(vif)} {\n}\ndelete table netdev ${tableOf(vif)}\n`;

async function nft(rules: string | Promise<string>, signal?: AbortSignal): Promise<void> {
  await run(nftCommand, ['-f', '-'], { input: rules, timeoutMs, ...(signal ? { signal } : {}) });
}

/** A switch that lives in a process of its own takes frames before the kernel's rules see them: its ports lose their link instead. */
const byLink = ({ plug }: VifSpec): boolean => plug.type === 'ovs' && !plug.hybrid && plug.datapathType === 'netdev';

async function setLinks(vifs: readonly VifSpec[], up: boolean, signal?: AbortSignal): Promise<void> {
  const lines = vifs.filter((vif) => byLink(vif) && deviceExists(vif.hostDevice)).map(({ hostDevice }) => `link set dev ${hostDevice} ${up ? 'up' : 'down'}`);
  if (lines.length > 0) await ipBatch(lines, signal);
}

const muteRules = (vifs: readonly VifSpec[]): string => vifs.filter(({ hostDevice }) => deviceExists(hostDevice)).map((vif) => {
  const chain = (name: string, hook: string): string => `chain ${name} { type filter hook ${hook} device "${vif.hostDevice}" priority ${priority}; policy drop; }\n`;
  return `${withoutTable(vif)}table netdev ${tableOf(vif)} {\n${chain('from', 'ingress')}${chain('to', 'egress')}}\n`;
}).join('');

/** Makes plugged ports mute. Idempotent. */
export async function mutePorts(vifs: readonly VifSpec[], signal?: AbortSignal): Promise<void> {
  await setLinks(vifs, false, signal);
  const rules = muteRules(vifs);
  if (rules !== '') await nft(rules, signal);
}

/** Lets them speak, or takes away what is left of their rules when they are gone. Idempotent; never throws. @returns false if it failed, which the log tells */
export async function unmutePorts(vifs: readonly VifSpec[], log: Log): Promise<boolean> {
  return await unmuted(vifs, log, () => nft(vifs.map(withoutTable).join('')));
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

/** Rules that nft, started already, waits for: its start takes longer than its work, and a container stands still meanwhile. */
export class ReadyPorts {
  readonly #done: Promise<void> | undefined;
  #give: (rules: string) => void = () => undefined;

  /** @param vifs plugged ports */
  constructor(private readonly vifs: readonly VifSpec[]) {
    if (vifs.length === 0) return;
    this.#done = nft(new Promise((resolve) => { this.#give = resolve; }));
    this.#done.catch(() => undefined); // told to whoever uses it
  }

  /** As `mutePorts`. */
  async mute(signal?: AbortSignal): Promise<void> {
    await setLinks(this.vifs, false, signal);
    this.#give(muteRules(this.vifs));
    await this.#done;
  }

  /** As `unmutePorts`. */
  async unmute(log: Log): Promise<boolean> {
    return await unmuted(this.vifs, log, async () => {
      this.#give(this.vifs.map(withoutTable).join(''));
      await this.#done;
    });
  }

  /** They stay as they are. After one of the others it does nothing. */
  leave(): void {
    this.#give('');
  }
}
