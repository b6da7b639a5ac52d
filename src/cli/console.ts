/** `haulier console`: this terminal at a container's console. */
import { findContainer, lookParts } from './containers.js';
import type { LoadedConfig } from '../base/config/load.js';
import { openConsole, resizeConsole } from '../container/console-line.js';

/** Ctrl-]. */
const leave = 0x1d;

/** Until the user leaves, standard input ends, or the container does. @throws INSTANCE_NOT_FOUND, BAD_ARGUMENT, INSTANCE_STATE */
export async function sitDown(loaded: LoadedConfig, word: string): Promise<number> {
  const { store } = await lookParts(loaded);
  const id = await findContainer(store, word);
  const line = await openConsole(store, id);
  const { stdin, stdout } = process;
  const tell = (): void => { if (stdout.isTTY) void resizeConsole(store, id, { rows: stdout.rows, columns: stdout.columns }).catch(() => undefined); };
  process.stderr.write(`console of ${id}; Ctrl-] leaves it\r\n`);
  tell();
  stdout.on('resize', tell);
  line.output.pipe(stdout, { end: false });
  if (stdin.isTTY) stdin.setRawMode(true);
  stdin.on('data', (chunk: Buffer) => {
    const at = stdin.isTTY ? chunk.indexOf(leave) : -1;
    line.input.write(at < 0 ? chunk : chunk.subarray(0, at));
    if (at >= 0) line.end();
  });
  stdin.on('end', () => line.end());
  await line.ended;
  if (stdin.isTTY) stdin.setRawMode(false);
  process.stderr.write('\r\nthe console was left\r\n');
  return 0;
}
