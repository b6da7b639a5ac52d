/** `haulier logs`: a container's console, as kept. */
import { setTimeout as sleep } from 'node:timers/promises';
import { findContainer, lookParts } from './containers.js';
import type { LoadedConfig } from '../base/config/load.js';
import { followConsole, keepConsole, readConsole } from '../container/console.js';

const pollMs = 200;

/** What a guest wrote, for a terminal: colours stay, all else that could move, ask or rename it goes. */
export function terminalText(text: string): string {
  return text.replace(/(\x1b\[[0-9;]*m)|\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]P^_X][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, (_whole, colour: string | undefined) => colour ?? '');
}

/** Prints the last lines (all if undefined), and with `follow` what comes until the container is deleted or this is interrupted. @throws CONSOLE_UNAVAILABLE if it was never started */
export async function logs(loaded: LoadedConfig, word: string, lines: number | undefined, follow: boolean): Promise<number> {
  const { options, store } = await lookParts(loaded);
  const id = await findContainer(store, word);
  const path = store.paths(id).console;
  const write = (text: string): void => void process.stdout.write(process.stdout.isTTY ? terminalText(text) : text);
  await keepConsole(path, options.consoleLogBytes);
  const following = follow ? await followConsole(path) : undefined;
  write(await readConsole(path, lines, 2 * options.consoleLogBytes, following?.size));
  while (following && (await store.exists(id))) {
    write(await following.more());
    await sleep(pollMs);
  }
  return 0;
}
