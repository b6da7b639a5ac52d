/** Haulier on a host: start, stop, kill, with faults and other options; its containers; what is left of a server there. */
import { randomUUID } from 'node:crypto';
import { cloud, haulierLog, inside, mustRun, servicePid, until } from './machine.js';

/** The hosts of the cloud. */
export const hosts = ['host1', 'host2'] as const;
/** One of them. */
export type HostName = (typeof hosts)[number];

const runc = ['runc', '--root', '/run/haulier/runc'];

/** Pid of haulier as the machine sees it. */
export const haulierPid = (host: HostName): number | undefined => servicePid(host, 'haulier');

/** Starts haulier, unless it runs, and waits until it says `ready`; with `fault` it may die before. */
export async function startHaulier(host: HostName, options: { fault?: string; wait?: boolean } = {}): Promise<void> {
  if (haulierPid(host)) return;
  const before = Buffer.byteLength(haulierLog(host));
  await cloud(['haulier', 'start', host], options.fault ? { HAULIER_FAULT: options.fault } : {});
  if (options.wait === false) return;
  await until(`haulier of ${host} ready`, 60, async () => {
    if (haulierLog(host, before).includes('"msg":"ready"')) return true;
    if (haulierPid(host)) return false;
    if (options.fault !== undefined) return true;
    throw new Error(`haulier of ${host} ended: ${/"msg":"cannot start[^"]*/.exec(haulierLog(host, before))?.[0] ?? haulierLog(host, before).slice(-800)}`);
  }, () => haulierLog(host, before).slice(-800));
}

/** Graceful stop. */
export async function stopHaulier(host: HostName): Promise<void> {
  await cloud(['haulier', 'stop', host]);
}

/** kill -9. */
export async function killHaulier(host: HostName): Promise<void> {
  await cloud(['haulier', 'kill', host]);
  await died(host);
}

/** Waits until haulier is gone. */
export async function died(host: HostName, seconds = 30): Promise<void> {
  await until(`haulier of ${host} dies`, seconds, async () => !haulierPid(host), () => haulierLog(host).slice(-1500));
}

/** Ends haulier whatever it does, and starts it anew. */
export async function restartHaulier(host: HostName, options: { fault?: string } = {}): Promise<void> {
  await stopHaulier(host);
  await startHaulier(host, options);
}

/** Appends options to the host's nova.conf. @returns puts the file back */
export async function configure(host: HostName, text: string): Promise<() => Promise<void>> {
  const backup = `/etc/nova/nova.conf.${randomUUID().slice(0, 8)}`;
  await mustRun(host, ['cp', '-p', '/etc/nova/nova.conf', backup]);
  await mustRun(host, ['sh', '-c', 'cat >>/etc/nova/nova.conf'], { input: `\n${text}\n` });
  return async () => void (await mustRun(host, ['mv', backup, '/etc/nova/nova.conf']));
}

/** A container as runc has it. */
export interface Contained { readonly id: string; readonly pid: number; readonly status: string }

/** `runc list` of a host. */
export async function containers(host: HostName): Promise<readonly Contained[]> {
  return (JSON.parse(await mustRun(host, [...runc, 'list', '-f', 'json'])) as Contained[] | null) ?? [];
}

/** The container of a server; undefined if there is none. */
export const container = async (host: HostName, id: string): Promise<Contained | undefined> => (await containers(host)).find((item) => item.id === id);

/** A shell command in a container. */
export const guest = async (host: HostName, id: string, command: string): Promise<string> => mustRun(host, [...runc, 'exec', id, '/bin/sh', '-c', command], { timeoutMs: 30_000 });
/** The same with its exit code. */
export const guestStatus = async (host: HostName, id: string, command: string): Promise<number> => (await inside(host, [...runc, 'exec', id, '/bin/sh', '-c', command], { timeoutMs: 30_000 })).code;

const listing = `
runc --root /run/haulier/runc list -q | sed 's/^/runc /'
sed 's/^/mount /' /proc/self/mountinfo
losetup -a | sed 's/^/loop /'
ip -o link | sed 's/^/link /'
ovs-vsctl --no-headings --columns=name,external_ids list interface | sed 's/^/ovs /'
ovs-vsctl list-ports br-int | sed 's/^/ovs-port /'
find /sys/fs/cgroup -mindepth 2 -maxdepth 6 -type d | sed 's/^/cgroup /'
ls -d /var/lib/nova/instances/* /run/haulier/*/* 2>/dev/null | sed 's/^/path /'
for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null; echo; done | grep conmon | sed 's/^/process /'
`;

/** All lines of a host's state in which one of `needles` appears. */
export async function traces(host: HostName, needles: readonly string[]): Promise<string[]> {
  const text = await mustRun(host, ['sh', '-c', listing]);
  return text.split('\n').filter((line) => needles.some((needle) => line.includes(needle))).map((line) => `${host}: ${line}`);
}

/** Everything on a host that bears the name of an instance or of a port's device. */
export async function belongings(host: HostName): Promise<{ instances: Map<string, string>; devices: Map<string, string> }> {
  const instances = new Map<string, string>();
  const devices = new Map<string, string>();
  for (const line of (await mustRun(host, ['sh', '-c', listing])).split('\n')) {
    const [kind, ...words] = line.split(' ');
    // of a mount only its place counts: its source may be an image of the cache
    const where = kind === 'mount' ? words[4] ?? '' : line;
    const own = kind === 'runc' || kind === 'process' || (kind === 'path' && !line.includes('/_')) || where.startsWith('/var/lib/nova/instances/');
    const uuid = own ? /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/.exec(where)?.[0] : undefined;
    if (uuid) instances.set(uuid, line);
    const device = kind === 'link' || kind === 'ovs-port' ? /\b(?:tap|qvo|qvb|qbr)([0-9a-f]{8}-[0-9a-f]{2})\b/.exec(line)?.[1] : undefined;
    if (device) devices.set(device, line);
  }
  return { instances, devices };
}
