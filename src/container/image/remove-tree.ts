/** Takes hostile trees away. */
import { run } from '../../base/run.js';

/** Removes a tree that may be hostile: rm walks by descriptors, follows no link and crosses no mount. */
export async function removeTree(path: string): Promise<void> {
  await run('rm', ['-rf', '--one-file-system', '--', path], { timeoutMs: 600_000 });
}
