/** Usage of a running container, from cgroup v1 or v2 and from the host ends of its cables. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HaulierError } from '../base/errors.js';
import { controllerFolder, type CgroupLayout } from './cgroup.js';
import { cgroupsPath, type HostParts } from './parts.js';
import { ageSeconds } from './process.js';
import type { ContainerStats, VifSpec } from './spec.js';

type Disk = ContainerStats['disk'];
type Nic = ContainerStats['nics'][number];

const microsecond = 1000; // nanoseconds
const noDisk: Disk = { readBytes: 0, writeBytes: 0, readOps: 0, writeOps: 0 };

/** @throws INSTANCE_STATE if it does not run */
export async function readStats(parts: Pick<HostParts, 'options' | 'store' | 'cgroups'>, id: string): Promise<ContainerStats> {
  const [running, spec] = await Promise.all([parts.store.running(id), parts.store.readSpec(id)]);
  if (!running || !spec) throw new HaulierError('INSTANCE_STATE', { instance: id, state: 'stopped', action: 'read its usage' });
  const path = cgroupsPath(parts, id);
  const usage = parts.cgroups.pureCgroup2 ? await readV2(parts.cgroups, path) : await readV1(parts.cgroups, path);
  const devices = await readFile('/proc/self/net/dev', 'utf8');
  return {
    ...usage,
    uptimeSeconds: Math.max(0, Math.round(ageSeconds(running))),
    nics: spec.vifs.map((vif) => nicStats(devices, vif)),
  };
}

type Usage = Omit<ContainerStats, 'uptimeSeconds' | 'nics'>;

async function text(layout: CgroupLayout, controller: string, path: string, file: string): Promise<string> {
  const folder = controllerFolder(layout, controller, path);
  return folder === undefined ? '' : (await readFile(join(folder, file), 'utf8').catch(() => '')).trim();
}

async function readV1(layout: CgroupLayout, path: string): Promise<Usage> {
  const [cpu, memory, limit, pids, bytes, operations] = await Promise.all([
    text(layout, 'cpuacct', path, 'cpuacct.usage'),
    text(layout, 'memory', path, 'memory.usage_in_bytes'),
    text(layout, 'memory', path, 'memory.limit_in_bytes'),
    text(layout, 'pids', path, 'pids.current'),
    text(layout, 'blkio', path, 'blkio.throttle.io_service_bytes_recursive'),
    text(layout, 'blkio', path, 'blkio.throttle.io_serviced_recursive'),
  ]);
  const moved = parseBlkio(bytes);
  const served = parseBlkio(operations);
  return {
    cpuNs: Number(cpu), memoryBytes: Number(memory), memoryLimitBytes: Number(limit), pids: Number(pids),
    disk: { readBytes: moved.read, writeBytes: moved.write, readOps: served.read, writeOps: served.write },
  };
}

async function readV2(layout: CgroupLayout, path: string): Promise<Usage> {
  const [cpu, memory, limit, pids, io] = await Promise.all([
    text(layout, 'cpu', path, 'cpu.stat'),
    text(layout, 'memory', path, 'memory.current'),
    text(layout, 'memory', path, 'memory.max'),
    text(layout, 'pids', path, 'pids.current'),
    text(layout, 'io', path, 'io.stat'),
  ]);
  const usec = Number(/^usage_usec (\d+)$/m.exec(cpu)?.[1] ?? 0);
  return { cpuNs: usec * microsecond, memoryBytes: Number(memory), memoryLimitBytes: limit === 'max' ? 0 : Number(limit), pids: Number(pids), disk: parseIoStat(io) };
}

/** Sums over devices of a v1 `blkio.throttle.*` file: lines `8:0 Read 123`. */
export function parseBlkio(content: string): { readonly read: number; readonly write: number } {
  let read = 0;
  let write = 0;
  for (const line of content.split('\n')) {
    const [, kind, value] = line.split(' ');
    if (kind === 'Read') read += Number(value);
    if (kind === 'Write') write += Number(value);
  }
  return { read, write };
}

/** Sums over devices of a v2 `io.stat`: lines `8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...`. */
export function parseIoStat(content: string): Disk {
  const sum = { ...noDisk };
  for (const line of content.split('\n')) {
    for (const field of line.split(' ')) {
      const [key, value] = field.split('=');
      if (key === 'rbytes') sum.readBytes += Number(value);
      if (key === 'wbytes') sum.writeBytes += Number(value);
      if (key === 'rios') sum.readOps += Number(value);
      if (key === 'wios') sum.writeOps += Number(value);
    }
  }
  return sum;
}

/**
 * One port's counters, from the host end of its cable, where the guest cannot rename or replace it; what the host end sent is what
 * the guest received.
 * @param devices text of `/proc/net/dev` of the host's network namespace
 */
export function nicStats(devices: string, vif: Pick<VifSpec, 'hostDevice' | 'mac'>): Nic {
  const line = devices.split('\n').map((item) => item.trim()).find((item) => item.startsWith(`${vif.hostDevice}:`));
  const values = (line?.slice(vif.hostDevice.length + 1) ?? '').trim().split(/\s+/).map(Number);
  const at = (index: number): number => values[index] ?? 0;
  return {
    mac: vif.mac,
    txBytes: at(0), txPackets: at(1), txErrors: at(2), txDrops: at(3),
    rxBytes: at(8), rxPackets: at(9), rxErrors: at(10), rxDrops: at(11),
  };
}
