/** Talks to iproute2: batches, so that many changes cost one process. */
import { existsSync } from 'node:fs';
import { run } from '../../base/run.js';

/** True if a network device of that name is in this network namespace. */
export function deviceExists(name: string): boolean {
  return existsSync(`/sys/class/net/${name}`);
}

/** Runs lines of `ip` commands in order, stopping at the first that fails. @throws COMMAND_FAILED */
export async function ipBatch(lines: readonly string[], signal?: AbortSignal): Promise<void> {
  if (lines.length === 0) return;
  await run('ip', ['-batch', '-'], { input: lines.map((line) => line + '\n').join(''), ...(signal ? { signal } : {}) });
}

/** Deletes a device if it is there. */
export async function deleteDevice(name: string): Promise<void> {
  if (!deviceExists(name)) return;
  try {
    await run('ip', ['link', 'delete', 'dev', name]);
  } catch (error) {
    if (deviceExists(name)) throw error; // else it went away by itself: its namespace ended
  }
}
