/** Tempest, OpenStack's own tests, as a test of ours sees it: what passed, what was skipped, what failed. */
import { join } from 'node:path';
import { packageRoot } from '../../../src/base/package-root.js';
import { run } from '../../../src/base/run.js';

/** How one run went; names are tempest's own, as `tempest.api.compute.admin.test_migrations.MigrationsAdminTest.test_cold_migration`. */
export interface TempestRun {
  readonly passed: readonly string[];
  /** Name to reason. */
  readonly skipped: ReadonlyMap<string, string>;
  readonly failed: readonly string[];
  /** All that it printed: tracebacks and requests of what failed. */
  readonly output: string;
}

const line = /^\{\d+\} (setUpClass \(.+?\)|tearDownClass \(.+?\)|\S+)(?: \[[\d.]+s\])? \.\.\. (ok|SKIPPED|FAILED)(?:: (.*))?$/gm;

/** What a run printed, sorted. */
export function readRun(output: string): TempestRun {
  const passed: string[] = [];
  const failed: string[] = [];
  const skipped = new Map<string, string>();
  for (const [, name = '', outcome, reason = ''] of output.matchAll(line)) {
    if (outcome === 'ok') passed.push(name);
    else if (outcome === 'FAILED') failed.push(name);
    else skipped.set(name, reason);
  }
  return { passed, skipped, failed, output };
}

/** Runs the tests that match any of the expressions, two at a time. @throws if tempest itself cannot run */
export async function tempest(...expressions: readonly string[]): Promise<TempestRun> {
  const { stdout, stderr } = await run(join(packageRoot, 'devstack/cloud'), ['tempest', '--workers', '2', ...expressions], { timeoutMs: 18 * 60_000, okCodes: [0, 1] });
  if (!/^Ran: \d+ tests/m.test(stdout)) throw new Error(`tempest did not run: ${(stderr || stdout).slice(-2000)}`);
  return readRun(stdout);
}
