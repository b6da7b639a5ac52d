import test from 'ava';
import { countCpus, countUsers, formatUptime, parseCpuinfo, parseCpuList, readHostResources } from '../../../src/container/host-resources.js';

test('CPU lists, and only CPUs that are allowed and online', (t) => {
  t.deepEqual([...parseCpuList('0-2,5\n')], [0, 1, 2, 5]);
  t.is(countCpus('Cpus_allowed_list:\t0-1,7\n', '0-3\n'), 2);
  t.is(countCpus('Cpus_allowed_list:\t0-127\n', '0-3\n'), 4);
});

test('uptime reads as procps writes it', (t) => {
  const now = new Date(2024, 0, 1, 3, 5, 9);
  const loads = ['0.10', '0.20', '0.30'];
  t.is(formatUptime(now, 59, 0, loads), ' 03:05:09 up 0 min,  0 users,  load average: 0.10, 0.20, 0.30');
  t.is(formatUptime(now, 2 * 3600 + 180, 1, loads), ' 03:05:09 up  2:03,  1 user,  load average: 0.10, 0.20, 0.30');
  t.is(formatUptime(now, 86_400 + 60, 2, loads), ' 03:05:09 up 1 day, 1 min,  2 users,  load average: 0.10, 0.20, 0.30');
  // the openstack client's expression (osc, hypervisor show)
  t.regex(formatUptime(now, 10 * 86_400 + 7300, 12, loads), /\s*(.+)\sup\s+(.+),\s+(.+)\susers?,\s+load average:\s(.+)/);
});

test('cpuinfo of x86 and ARM, users of utmp', (t) => {
  t.deepEqual(parseCpuinfo('vendor_id\t: GenuineIntel\nmodel name\t: Xeon: X\nflags\t\t: fpu vme\n'), { model: 'Xeon: X', vendor: 'GenuineIntel', flags: ['fpu', 'vme'] });
  t.deepEqual(parseCpuinfo('CPU implementer\t: 0x41\nFeatures\t: fp asimd\n'), { model: 'unknown', vendor: '0x41', flags: ['fp', 'asimd'] });
  const utmp = Buffer.alloc(3 * 384);
  utmp.writeInt16LE(7, 384);
  t.is(countUsers(utmp), 1);
});

test('this host has something of everything', async (t) => {
  const host = await readHostResources('/');
  t.true(host.cpus >= 1 && host.memoryMiB > host.memoryAvailableMiB && host.memoryAvailableMiB > 0);
  t.true(host.diskGiB > 0 && host.diskFreeGiB <= host.diskGiB && host.cpuFlags.length > 0);
});
