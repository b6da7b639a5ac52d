/** `haulier can-freeze` and `haulier host freeze|thaw`. */
import { findContainer, lookParts } from './containers.js';
import { containerOptions } from './wiring.js';
import type { LoadedConfig } from '../base/config/load.js';
import { isHaulierError } from '../base/errors.js';
import { createLog } from '../base/log.js';
import { freezeHost, thawHost } from '../container/checkpoint/whole-host.js';
import { takeHost } from '../container/host-lock.js';
import { LocalContainerHost } from '../container/local-container-host.js';
import { verdictOf } from '../container/verdict/verdict.js';

/** Prints the verdict; only looks, so it may run beside the service. @returns 0 if the container can be frozen, 1 if not, 2 if there is nothing to judge */
export async function canFreeze(loaded: LoadedConfig, word: string, print: (line: string) => void): Promise<number> {
  const parts = await lookParts(loaded);
  const id = await findContainer(parts.store, word).catch((error: unknown) => { if (isHaulierError(error, 'INSTANCE_NOT_FOUND')) return undefined; throw error; });
  const state = id === undefined ? undefined : await parts.store.readState(id);
  const verdict = id === undefined || !state ? undefined : await verdictOf(parts, id);
  if (!verdict) {
    const why = state?.wanted === 'suspended' ? 'is suspended already' : 'does not run';
    print(state ? `${id} ${why}: there is nothing to judge` : `there is no container ${word} on this host`);
    return 2;
  }
  print(verdict.freezable ? 'yes' : 'no');
  for (const { text, effect, passing, code } of verdict.findings) print(`${effect === 'loses' ? 'but' : '-'} ${text}${passing ? ' (may pass by itself)' : ''} [${code}]`);
  return verdict.freezable ? 0 : 1;
}

/** Freezes or thaws all containers of the host. @returns 0 if all went well, else 1 */
export async function hostCommand(loaded: LoadedConfig, what: 'freeze' | 'thaw', print: (line: string) => void): Promise<number> {
  const options = containerOptions(loaded.config);
  const place = await takeHost(options);
  const log = createLog({ level: loaded.config.DEFAULT.debug ? 'debug' : 'warn' });
  const host = new LocalContainerHost(options, log);
  let done = 0;
  let failed = 0;
  try {
    await host.start();
    await (what === 'freeze' ? freezeHost : thawHost)(host, log, ({ id, name, ok, text, ms }) => {
      if (ok) done++;
      else failed++;
      print(`${ok ? 'ok    ' : 'FAILED'} ${id} ${name}: ${text} (${ms} ms)`);
    });
    const word = what === 'freeze' ? 'frozen' : 'thawed';
    print(done + failed === 0 ? `there is nothing to ${what}` : `${done} ${word}, ${failed} not${what === 'freeze' && done > 0 ? '; they come back with `haulier host thaw` or the start of the service' : ''}`);
  } finally {
    await host.stop();
    place.release();
  }
  return failed === 0 ? 0 : 1;
}
