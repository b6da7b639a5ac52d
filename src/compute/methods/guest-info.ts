/** Console text, diagnostics (contract C.15, C.16). */
import type { Compute, InstanceCall } from '../compute.js';
import { requireContainer } from '../instance-state.js';
import { HaulierError } from '../../base/errors.js';
import type { ContainerStats } from '../../container/spec.js';
import type { NovaObject } from '../../nova/object.js';

/** get_console_output: null means all, 0 nothing. Characters outside ASCII are replaced, as Nova does. */
export async function getConsoleOutput(compute: Compute, call: InstanceCall): Promise<string> {
  await requireContainer(compute, call.uuid);
  const wanted = call.args['tail_length'];
  const lines = wanted === null || wanted === undefined ? undefined : Number(wanted);
  if (lines === 0) return '';
  const text = await compute.containers.consoleLog(call.uuid, lines !== undefined && lines > 0 ? lines : undefined);
  return text.replace(/[^\t\n\r\x20-\x7e]/g, '?');
}

async function runningStats(compute: Compute, call: InstanceCall): Promise<{ stats: ContainerStats; state: string }> {
  await requireContainer(compute, call.uuid);
  const { state } = await compute.containers.view(call.uuid);
  if (state !== 'running' && state !== 'paused') throw new HaulierError('INSTANCE_STATE', { instance: call.uuid, state, action: call.method });
  return { stats: await compute.containers.stats(call.uuid), state };
}

/** get_diagnostics (before microversion 2.48): a free dict, in libvirt's key style. */
export async function getDiagnostics(compute: Compute, call: InstanceCall): Promise<Record<string, unknown>> {
  const { stats } = await runningStats(compute, call);
  const nics = stats.nics.flatMap((nic, index) => [
    [`vnet${index}_rx`, nic.rxBytes], [`vnet${index}_tx`, nic.txBytes], [`vnet${index}_rx_packets`, nic.rxPackets], [`vnet${index}_tx_packets`, nic.txPackets],
    [`vnet${index}_rx_errors`, nic.rxErrors], [`vnet${index}_tx_errors`, nic.txErrors], [`vnet${index}_rx_drop`, nic.rxDrops], [`vnet${index}_tx_drop`, nic.txDrops],
  ]);
  return {
    cpu0_time: stats.cpuNs, memory: Math.round(stats.memoryLimitBytes / 1024), 'memory-rss': Math.round(stats.memoryBytes / 1024), processes: stats.pids,
    vda_read: stats.disk.readBytes, vda_read_req: stats.disk.readOps, vda_write: stats.disk.writeBytes, vda_write_req: stats.disk.writeOps,
    ...Object.fromEntries(nics),
  };
}

/**
 * get_instance_diagnostics: a Diagnostics 1.0 object. Its `driver` is a closed enum without containers, and `libvirt` is the
 * member under which Nova shows LXC guests (nova/objects/fields.py DiagnosticDriver).
 */
export async function getInstanceDiagnostics(compute: Compute, call: InstanceCall): Promise<NovaObject> {
  const { stats, state } = await runningStats(compute, call);
  const { conductor } = compute;
  const vcpus = call.instance.number('vcpus') ?? 1;
  const mib = 1024 * 1024;
  return conductor.create('Diagnostics', {
    state, driver: 'libvirt', hypervisor: 'haulier', hypervisor_os: 'linux', uptime: Math.round(stats.uptimeSeconds),
    config_drive: Boolean(call.instance.text('config_drive')), num_cpus: vcpus, num_nics: stats.nics.length, num_disks: 1,
    // the kernel counts a container's time as a whole: it stands at the first CPU
    cpu_details: Array.from({ length: vcpus }, (_, id) => conductor.create('CpuDiagnostics', { id, time: id === 0 ? stats.cpuNs : 0, utilisation: null })),
    nic_details: stats.nics.map((nic) => conductor.create('NicDiagnostics', {
      mac_address: nic.mac, rx_octets: nic.rxBytes, rx_errors: nic.rxErrors, rx_drop: nic.rxDrops, rx_packets: nic.rxPackets, rx_rate: null,
      tx_octets: nic.txBytes, tx_errors: nic.txErrors, tx_drop: nic.txDrops, tx_packets: nic.txPackets, tx_rate: null,
    })),
    disk_details: [conductor.create('DiskDiagnostics', { read_bytes: stats.disk.readBytes, read_requests: stats.disk.readOps, write_bytes: stats.disk.writeBytes, write_requests: stats.disk.writeOps, errors_count: 0 })],
    memory_details: conductor.create('MemoryDiagnostics', { maximum: Math.round(stats.memoryLimitBytes / mib), used: Math.round(stats.memoryBytes / mib) }),
  });
}
