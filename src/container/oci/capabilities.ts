/**
 * Capabilities that PID 1 of a container keeps. They hold inside the container's user namespace only.
 *
 * Left out, because an init system boots without them: loading modules, raw I/O, setting the clock, BPF, perf, audit of the
 * host, mandatory access control, wake alarms, process accounting, the kernel's log. CAP_SYS_RESOURCE is never asked for, so
 * that a container can move to a host whose root does not have it.
 */
export const containerCapabilities: readonly string[] = [
  'CAP_AUDIT_WRITE',
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_DAC_READ_SEARCH',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_IPC_LOCK',
  'CAP_IPC_OWNER',
  'CAP_KILL',
  'CAP_LEASE',
  'CAP_LINUX_IMMUTABLE',
  'CAP_MKNOD',
  'CAP_NET_ADMIN',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_BROADCAST',
  'CAP_NET_RAW',
  'CAP_SETFCAP',
  'CAP_SETGID',
  'CAP_SETPCAP',
  'CAP_SETUID',
  'CAP_SYS_ADMIN',
  'CAP_SYS_BOOT',
  'CAP_SYS_CHROOT',
  'CAP_SYS_NICE',
  'CAP_SYS_PTRACE',
  'CAP_SYS_TTY_CONFIG',
];
