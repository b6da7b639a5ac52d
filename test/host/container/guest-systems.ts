/** Real, unmodified systems as guests: the images that `devstack/cloud guest-images` makes, and how to tell what goes on in them. */
import { createReadStream, existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cgroupPids, readCgroupLayout } from '../../../src/container/cgroup.js';
import type { ContainerSpec, ImageSource } from '../../../src/container/spec.js';
import { inside, makeSpec, makeVif, operate, until, type Bed } from './harness.js';

/** Where a test host sees the images. */
const folder = '/opt/haulier-guests';

/** A system. */
export interface GuestSystem {
  readonly name: 'debian13' | 'debian12' | 'sysvinit' | 'openrc';
  /** The program that is PID 1. */
  readonly program: string;
  /** A command of the guest that succeeds once it has booted, and not before. */
  readonly booted: string;
  /** A command that names what is not as it should be; silent otherwise. */
  readonly failed: string;
  /** Services that run. */
  readonly services: readonly string[];
}

const systemd = { program: 'systemd', booted: '[ "$(systemctl is-system-running)" = running ]', failed: 'systemctl --failed --no-legend', services: ['cron', 'dbus', 'nginx', 'ssh', 'systemd-journald', 'systemd-logind'] };

/** All of them. */
export const guestSystems: readonly GuestSystem[] = [
  { name: 'debian13', ...systemd },
  { name: 'debian12', ...systemd },
  { name: 'sysvinit', program: 'init', booted: 'runlevel | grep -q "[2-5]$" && pidof nginx cron && ! pidof startpar rc', failed: 'for one in nginx cron; do service $one status >/dev/null || echo $one; done', services: ['nginx', 'cron'] },
  { name: 'openrc', program: 'init', booted: '[ "$(rc-status -r)" = default ] && pidof nginx cron && ! pidof openrc', failed: 'rc-status --crashed', services: ['nginx', 'cron'] },
];

/** Why a guest image cannot be used; undefined if it can. */
export function guestImageProblem(...names: readonly string[]): string | undefined {
  const missing = names.filter((name) => !existsSync(join(folder, `${name}.stamp`)));
  return missing.length > 0 ? `no image of ${missing.join(', ')}: devstack/cloud guest-images` : undefined;
}

/** @param name of a guest system, or `apps` */
export async function guestImage(name: string): Promise<ImageSource> {
  const file = join(folder, `${name}.tar.zst`);
  const recipe = (await readFile(join(folder, `${name}.stamp`), 'utf8')).slice(0, 12);
  return { id: `00000000-0000-4000-8000-${recipe}`, size: (await stat(file)).size, checksum: undefined, diskFormat: 'raw', containerFormat: 'bare', open: async () => createReadStream(file) };
}

/** Boots one with a port on `bridge` and waits until it is up. It has the address 10.90.0.5. */
export async function bootGuest(bed: Bed, system: GuestSystem, bridge: string): Promise<ContainerSpec> {
  const image = await guestImage(system.name);
  await operate((operation) => bed.host.ensureImage(image, operation));
  const spec = makeSpec(image, {
    vifs: [makeVif({ type: 'bridge', bridge, createBridge: true }, 0)],
    limits: { vcpus: 2, cpuShares: undefined, cpuQuota: undefined, cpuPeriod: undefined, memoryMiB: 512, swapMiB: 0, pids: 1000, rootGiB: 2 },
  });
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await untilBooted(bed, spec.id, system);
  return spec;
}

/** Waits until it has booted; else says what it reached. */
export async function untilBooted(bed: Bed, id: string, system: GuestSystem): Promise<void> {
  await until('booted', () => succeeds(bed, id, system.booted), 30_000).catch(async (error: unknown) => {
    throw new Error(`${String(error)}: ${await shell(bed, id, `${system.failed}; ps ax`)}\n${await bed.host.consoleLog(id, 30)}`);
  });
}

/** A shell command in the guest, whatever its status. */
export async function shell(bed: Bed, id: string, command: string): Promise<string> {
  return await inside(bed, id, 'sh', '-c', `{ ${command}; } 2>&1; true`);
}

/** True if a shell command in the guest succeeds. */
export async function succeeds(bed: Bed, id: string, command: string): Promise<boolean> {
  return (await shell(bed, id, `{ ${command}; } >/dev/null 2>&1 && echo yes`)) === 'yes';
}

interface Running {
  readonly pid: number;
  /** As the guest sees it. */
  readonly inside: number;
  readonly uid: number;
  readonly command: string;
  /** CPU time, in ticks of 10 ms. */
  readonly ticks: number;
}

async function processesOf(bed: Bed, id: string): Promise<Running[]> {
  const pids = cgroupPids(await readCgroupLayout(), join(bed.options.cgroupParent, id));
  const found = await Promise.all(pids.map(async (pid) => {
    try {
      const [status, command, stat_] = await Promise.all(['status', 'cmdline', 'stat'].map((name) => readFile(`/proc/${pid}/${name}`, 'utf8')));
      const fields = (stat_ as string).slice((stat_ as string).lastIndexOf(')') + 2).split(' '); // from the third on, proc(5)
      return {
        pid,
        inside: Number(/^NSpid:.*\s(\d+)$/m.exec(status as string)?.[1]),
        uid: Number(/^Uid:\s+(\d+)/m.exec(status as string)?.[1]),
        command: (command as string).replaceAll('\0', ' ').trim(),
        ticks: Number(fields[11]) + Number(fields[12]),
      };
    } catch {
      return undefined; // it ended in between
    }
  }));
  return found.filter((one) => one !== undefined).sort((a, b) => a.inside - b.inside);
}

/** sysvinit's: it waits for a terminal that no container has, ends after 10 s (or at a resume, which ends any sleep), and comes again. */
const idleGetty = /^\/sbin\/getty .*tty\d$/;

/** Its processes, one a line: pid (the guest's), uid (the host's), command line. */
export async function processList(bed: Bed, id: string): Promise<string> {
  return (await processesOf(bed, id)).filter(({ command }) => !idleGetty.test(command)).map(({ inside: pid, uid, command }) => `${pid} ${uid} ${command}`).join('\n');
}

/** Waits until nothing comes and goes any more. @returns the list */
export async function untilSettled(bed: Bed, id: string): Promise<string> {
  let last = '';
  let same = 0;
  return await until('its processes settle', async () => {
    const list = await processList(bed, id);
    same = list === last ? same + 1 : 0;
    last = list;
    await sleep(100);
    return same >= 10 ? list : undefined;
  }, 20_000);
}

/** Waits for half a second in which no process used the CPU for more than a tenth of it: one that spins never gives it. */
export async function untilAtRest(bed: Bed, id: string): Promise<void> {
  let busy = '';
  await until('at rest', async () => {
    const before = new Map((await processesOf(bed, id)).map(({ pid, ticks }) => [pid, ticks]));
    await sleep(500);
    busy = (await processesOf(bed, id)).filter(({ pid, ticks }) => ticks - (before.get(pid) ?? 0) > 5).map(({ command }) => command).join(', ');
    return busy === '';
  }, 15_000).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${busy} uses the CPU`);
  });
}
