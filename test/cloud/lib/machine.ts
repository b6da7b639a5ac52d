/** The devstack as a test sees it: commands in its namespaces, its services, its secrets. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { packageRoot } from '../../../src/base/package-root.js';
import { run, type RunResult } from '../../../src/base/run.js';

const work = process.env['HAULIER_DEVSTACK_DIR'] ?? join(packageRoot, '.devstack');
const script = join(packageRoot, 'devstack/cloud');

/** `devstack/cloud ARGS`, with extra environment. @throws COMMAND_FAILED */
export async function cloud(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> {
  return (await run(script, args, { timeoutMs: 180_000, env: { ...process.env, ...env } })).stdout;
}

/** Pid of a pid file "PID STARTTIME" whose process lives. */
function livingPid(file: string): number | undefined {
  try {
    const [pid, start] = readFileSync(file, 'utf8').trim().split(' ');
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] === start ? Number(pid) : undefined;
  } catch {
    return undefined;
  }
}

/** The init of a namespace (`ctl`, `host1`...). */
export function namespacePid(name: string): number {
  const pid = livingPid(join(work, 'ns', name));
  if (!pid) throw new Error(`the cloud's ${name} is not up; run devstack/cloud up`);
  return pid;
}

/** A service of the devstack, as the machine sees it; undefined if it does not run. */
export const servicePid = (namespace: string, service: string): number | undefined => livingPid(join(work, 'svc', `${namespace}.${service}`));

/** Starts what does not run of the control plane, as `cloud up` does, without waiting for the rest. */
const reviveScript = `
set -euo pipefail
BEGAN=$EPOCHREALTIME DEVSTACK=$1
. "$DEVSTACK/lib/base.sh"
for file in "$DEVSTACK"/lib/*.sh; do case \${file##*/} in base.sh | *-install.sh | *-init.sh) ;; *) . "$file" ;; esac; done
secrets_load
control_base_start
control_services_start
`;

/** Ends a service of the control plane by SIGKILL, does `meanwhile`, and starts it again. */
export async function outage(service: string, meanwhile: () => Promise<unknown>): Promise<void> {
  const pid = servicePid('ctl', service);
  if (!pid) throw new Error(`${service} does not run`);
  const group = (await run('ps', ['-o', 'pgid=', '-p', String(pid)])).stdout.trim();
  process.kill(-Number(group), 'SIGKILL');
  try {
    await until(`${service} ends`, 10, async () => !servicePid('ctl', service));
    await meanwhile();
  } finally {
    await run('bash', ['-c', reviveScript, 'revive', join(packageRoot, 'devstack')], { timeoutMs: 90_000 });
  }
}

/** A value of .devstack/secrets. */
export function secret(name: string): string {
  const line = readFileSync(join(work, 'secrets'), 'utf8').split('\n').find((text) => text.startsWith(`${name}=`));
  if (!line) throw new Error(`no ${name} in .devstack/secrets`);
  return line.slice(name.length + 1).replace(/^['"]|['"]$/g, '');
}

/** The haulier log of a host, from byte `from` on; empty before its first start. */
export function haulierLog(host: string, from = 0): string {
  const path = join(work, 'hosts', host, 'haulier.log');
  return existsSync(path) ? readFileSync(path).subarray(from).toString('utf8') : '';
}

const environment = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root', LANG: 'C.UTF-8' };

/** A command in a machine of the cloud. Any exit code comes back. */
export async function inside(name: string, argv: readonly string[], options: { input?: string; timeoutMs?: number } = {}): Promise<RunResult> {
  const okCodes = Array.from({ length: 256 }, (_, code) => code);
  return run('nsenter', ['-t', String(namespacePid(name)), '-m', '-n', '-p', '-u', '-i', '--', ...argv], { okCodes, env: environment, ...options });
}

/** As `inside`, but a failure throws. */
export async function mustRun(name: string, argv: readonly string[], options: { input?: string; timeoutMs?: number } = {}): Promise<string> {
  const { code, stdout, stderr } = await inside(name, argv, options);
  if (code !== 0) throw new Error(`${name}: ${argv.join(' ').slice(0, 200)}: status ${code}: ${stderr || stdout}`);
  return stdout;
}

/** True if `address` answers a ping from the control plane within `seconds`. */
export async function answers(address: string, seconds = 8): Promise<boolean> {
  const until = Date.now() + seconds * 1000;
  do {
    if ((await inside('ctl', ['ping', '-n', '-c', '1', '-W', '1', address])).code === 0) return true;
  } while (Date.now() < until);
  return false;
}

/**
 * Asks again and again until the answer is there.
 * @param what named in the error, which also shows the last thing `show` gave
 */
export async function until<T>(what: string, seconds: number, ask: () => Promise<T | undefined | false>, show: () => unknown = () => ''): Promise<T> {
  const end = Date.now() + 3 * seconds * 1000; // the limits were chosen on a quiet machine
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (Date.now() > end) throw new Error(`${what}: not within ${3 * seconds} s ${JSON.stringify(await show())}`);
    await sleep(100);
  }
}
