/** What is written into config.json. */
import test from 'ava';
import { containerCapabilities } from '../../../src/container/oci/capabilities.js';
import { ociResources } from '../../../src/container/oci/limits.js';
import { refused, seccompProfile } from '../../../src/container/oci/seccomp.js';
import { ociConfig, type OciInputs } from '../../../src/container/oci/spec.js';
import { allowedSyscalls } from '../../../src/container/oci/syscalls.js';
import type { ContainerSpec } from '../../../src/container/spec.js';

const limits = { vcpus: 2, cpuShares: undefined, cpuQuota: undefined, cpuPeriod: undefined, memoryMiB: 512, swapMiB: 128, pids: 100, rootGiB: 1 };
const spec: ContainerSpec = { id: '11111111-1111-4111-8111-111111111111', name: 'instance-1', hostname: 'web', imageId: 'i', limits, vifs: [], init: undefined, env: { A: 'b' }, labels: { user: 'u' } };
const inputs: OciInputs = {
  idBase: 1_000_000, rootfs: '/i/rootfs', cgroupsPath: '/haulier/x', pureCgroup2: false, swapLimits: true, arch: 'x64', maxOpenFiles: 20_000,
  systemdConfFolder: '/i/systemd', criuConfig: '/i/criu.conf', hook: { script: '/s/hook.sh', folder: '/i/net' },
};

test('namespaces, ids, init, cgroup, hook', (t) => {
  const config = ociConfig(spec, inputs);
  t.deepEqual(config.linux.namespaces.map(({ type }) => type).sort(), ['cgroup', 'ipc', 'mount', 'network', 'pid', 'user', 'uts']);
  t.true(config.linux.namespaces.every((item) => !('path' in item)), 'criu refuses a namespace that the host owns');
  t.deepEqual(config.linux.uidMappings, [{ containerID: 0, hostID: 1_000_000, size: 65_536 }]);
  t.deepEqual(config.process.args, ['/sbin/init']);
  t.true(config.process.terminal);
  t.false(config.process.noNewPrivileges);
  t.is(config.linux.cgroupsPath, '/haulier/x');
  t.deepEqual(config.hooks.createRuntime[0]?.args, ['sh', '/s/hook.sh', '/i/net']);
  t.is(config.annotations['org.criu.config'], '/i/criu.conf');
  t.is(config.annotations['org.haulier.label.user'], 'u');
  t.deepEqual(ociConfig({ ...spec, init: ['/init', 'x'] }, inputs).process.args, ['/init', 'x']);
  t.is(ociConfig({ ...spec, hostname: `${'x'.repeat(63)}.example.org` }, inputs).hostname, 'x'.repeat(63));
});

test('environment of PID 1', (t) => {
  const { env } = ociConfig(spec, inputs).process;
  for (const item of ['container=oci', 'MEMORY_PRESSURE_WATCH=/dev/null', 'A=b']) t.true(env.includes(item));
  t.true(env.some((item) => item.startsWith('SYSTEMD_PROC_CMDLINE=systemd.mask=sys-kernel-debug.mount ')));
});

test('mounts: /sys read-only, /run a tmpfs, one folder of the host', (t) => {
  const { mounts } = ociConfig(spec, inputs);
  const at = (place: string) => mounts.find(({ destination }) => destination === place);
  t.true(at('/sys')?.options.includes('ro'));
  t.is(at('/run')?.type, 'tmpfs');
  t.is(at('/sys/fs/cgroup')?.type, 'cgroup2');
  t.is(ociConfig(spec, { ...inputs, pureCgroup2: true }).mounts.find(({ destination }) => destination === '/sys/fs/cgroup')?.type, 'cgroup');
  const bound = mounts.filter(({ type }) => type === 'bind');
  t.deepEqual(bound.map(({ source, destination }) => [source, destination]), [['/i/systemd', '/run/systemd/system.conf.d'], ['/i/systemd', '/run/systemd/user.conf.d']]);
  t.true(bound.every(({ options }) => options.includes('ro')));
  for (const place of ['/run', '/dev/shm']) t.true(at(place)?.options.includes('size=262144k'), 'half of its memory');
});

test('mounts: its own figures, from lxcfs or from the host; the tree that it rescues', (t) => {
  const bound = (more: Partial<OciInputs>): string[] => ociConfig(spec, { ...inputs, ...more }).mounts.filter(({ destination }) => /^.(proc|mnt|sys.dev).+/.test(destination)).map(({ source, destination, options }) => `${source} ${destination} ${options.includes('ro') ? 'ro' : 'rw'}`);
  t.deepEqual(bound({}), []);
  t.deepEqual([bound({ figuresRoot: '/var/lib/lxcfs' }).length, bound({ figuresRoot: '/var/lib/lxcfs' })[3], bound({ figuresRoot: '/' })[3]], [8, '/var/lib/lxcfs/proc/meminfo /proc/meminfo ro', '/proc/meminfo /proc/meminfo ro']);
  t.deepEqual(bound({ rescuedRoot: '/i/x_resize/rootfs' }), ['/i/x_resize/rootfs /mnt/rescue rw']);
});

test('limits', (t) => {
  t.deepEqual(ociResources(limits, true), {
    devices: [{ allow: false, access: 'rwm' }], cpu: { shares: 2048, quota: 200_000, period: 100_000 },
    memory: { limit: 512 * 1024 * 1024, swap: 640 * 1024 * 1024 }, pids: { limit: 100 },
  });
  t.deepEqual(ociResources({ ...limits, cpuQuota: -1, cpuShares: 10 }, false).cpu, { shares: 10, period: 100_000 });
  t.deepEqual(ociResources(limits, false).memory, { limit: 512 * 1024 * 1024 });
  t.is(ociResources({ ...limits, vcpus: 1000 }, true).cpu.shares, 262_144);
  const config = ociConfig(spec, inputs);
  t.deepEqual(config.process.rlimits, [{ type: 'RLIMIT_NOFILE', hard: 20_000, soft: 1024 }]);
});

test('capabilities: none that reaches past the namespaces, none that the other host may lack', (t) => {
  for (const name of ['SYS_MODULE', 'SYS_RAWIO', 'SYS_TIME', 'SYS_RESOURCE', 'BPF', 'PERFMON', 'MAC_ADMIN', 'SYSLOG']) t.false(containerCapabilities.includes(`CAP_${name}`));
  for (const name of ['SYS_ADMIN', 'SYS_BOOT', 'NET_ADMIN', 'SETUID']) t.true(containerCapabilities.includes(`CAP_${name}`));
});

test('system calls: no name twice, none both allowed and refused, conditions cover every value', (t) => {
  t.is(new Set(allowedSyscalls).size, allowedSyscalls.length);
  t.deepEqual(allowedSyscalls.filter((name) => refused.includes(name)), []);
  for (const arch of ['x64', 'arm64']) {
    const profile = seccompProfile(arch);
    t.is(profile.defaultErrnoRet, 38);
    const plain = profile.syscalls.filter((rule) => !rule.args && rule.action === 'SCMP_ACT_ALLOW').flatMap((rule) => rule.names);
    for (const name of ['unshare', 'socket', 'bpf', 'kexec_load', 'init_module', 'keyctl', 'userfaultfd', 'io_uring_setup']) t.false(plain.includes(name), `${name} is allowed without condition`);
    t.is(profile.syscalls.filter((rule) => rule.names.includes('unshare')).length, 2);
  }
  t.deepEqual(seccompProfile('x64').architectures, ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86']);
  t.true(seccompProfile('arm64').architectures.includes('SCMP_ARCH_AARCH64'));
  t.true(seccompProfile('x64').syscalls[0]?.names.includes('arch_prctl'));
});

test('an application: its user without capabilities, its words and folder, its init read-only', (t) => {
  const application = { args: ['/run/haulier/catatonit', '--', 'serve'], env: { PATH: '/bin', A: 'image' }, uid: 5, gid: 6, additionalGids: [7], cwd: '/srv', initFolder: '/i/init' };
  const { process, mounts } = ociConfig(spec, { ...inputs, application });
  t.deepEqual([process.args, process.cwd, process.user], [application.args, '/srv', { uid: 5, gid: 6, additionalGids: [7] }]);
  t.deepEqual([...process.env].sort(), ['A=b', 'HOSTNAME=web', 'PATH=/bin', 'TERM=linux', 'container=oci']);
  t.deepEqual([process.capabilities.effective, process.capabilities.permitted, process.capabilities.bounding], [[], [], containerCapabilities]);
  t.deepEqual(mounts.find(({ destination }) => destination === '/run/haulier'), { destination: '/run/haulier', type: 'bind', source: '/i/init', options: ['bind', 'ro', 'nosuid', 'nodev'] });
  t.deepEqual(ociConfig(spec, { ...inputs, application: { ...application, uid: 0 } }).process.capabilities.effective, containerCapabilities);
});
