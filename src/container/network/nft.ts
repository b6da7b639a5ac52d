/** Talks to nftables: rules of the `netdev` family, which stand at the host's end of a cable. Each text is one transaction. */
import { run, type RunOptions } from '../../base/run.js';

/** By its path: under npm another `nft`, a tool of JavaScript packers, comes first in PATH. */
export const nftCommand = '/usr/sbin/nft';

/** Loads them. @param rules a promise: nft is started already and waits for them @throws COMMAND_FAILED, COMMAND_TIMEOUT */
export async function loadRules(rules: string | Promise<string>, options: Pick<RunOptions, 'signal' | 'timeoutMs'> = {}): Promise<void> {
  await run(nftCommand, ['-f', '-'], { input: rules, ...options });
}

/** Rules that take a table away, if it is there: the first line makes the second one possible. */
export const withoutTable = (name: string): string => `table netdev ${name} {\n}\ndelete table netdev ${name}\n`;
