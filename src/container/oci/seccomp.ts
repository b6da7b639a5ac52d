/**
 * The system call filter: a list of what is allowed; all else answers ENOSYS, so that a program takes its older way.
 *
 * Compared with an application container more is allowed (mounts, namespaces, reboot of the own PID namespace), since PID 1 is
 * a whole init system in a user namespace. What reaches into the host's kernel, or what CRIU could not carry to another host,
 * is refused: see `refused`. Keyrings (keyctl and its kind) are not among them: told ENOSYS a container runtime in the guest goes on
 * without, told EPERM it gives up.
 */
import type { OciSeccomp, OciSyscall } from './config.js';
import { allowedSyscalls } from './syscalls.js';

const EPERM = 1;
const ENOSYS = 38;
const CLONE_NEWUTS = 0x0400_0000;
const AF_VSOCK = 40;
const AF_ALG = 38;

/** Refused with EPERM: each touches the whole machine, leaks from it, or cannot be frozen. */
export const refused: readonly string[] = [
  'acct', 'bpf', 'clock_settime', 'clock_settime64', 'create_module', 'delete_module', 'fanotify_init', 'finit_module', 'get_kernel_syms', 'init_module',
  'ioperm', 'iopl', 'io_uring_enter', 'io_uring_register', 'io_uring_setup', 'kexec_file_load', 'kexec_load', 'lookup_dcookie', 'move_pages',
  'nfsservctl', 'open_by_handle_at', 'perf_event_open', 'query_module', 'quotactl', 'quotactl_fd', 'settimeofday', 'stime', 'swapoff',
  'swapon', 'syslog', 'uselib', 'userfaultfd', 'ustat', 'vm86', 'vm86old',
];

/**
 * Calls that depend on an argument. They must not stand in the plain list as well (an allowance without condition wins), and every
 * value needs a rule.
 */
const conditional: readonly OciSyscall[] = [
  // A nested UTS namespace cannot be dumped ("Can't dump nested uts namespace"); systemd's ProtectHostname= goes on without.
  { names: ['unshare'], action: 'SCMP_ACT_ALLOW', args: [{ index: 0, value: CLONE_NEWUTS, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }] },
  { names: ['unshare'], action: 'SCMP_ACT_ERRNO', errnoRet: EPERM, args: [{ index: 0, value: CLONE_NEWUTS, valueTwo: CLONE_NEWUTS, op: 'SCMP_CMP_MASKED_EQ' }] },
  // Two address families reach past the network namespace (vsock) or into the kernel's crypto code (alg).
  { names: ['socket'], action: 'SCMP_ACT_ALLOW', args: [{ index: 0, value: AF_ALG, op: 'SCMP_CMP_LT' }] },
  { names: ['socket'], action: 'SCMP_ACT_ERRNO', errnoRet: EPERM, args: [{ index: 0, value: AF_ALG, op: 'SCMP_CMP_EQ' }] },
  { names: ['socket'], action: 'SCMP_ACT_ALLOW', args: [{ index: 0, value: AF_ALG + 1, op: 'SCMP_CMP_EQ' }] },
  { names: ['socket'], action: 'SCMP_ACT_ERRNO', errnoRet: EPERM, args: [{ index: 0, value: AF_VSOCK, op: 'SCMP_CMP_EQ' }] },
  { names: ['socket'], action: 'SCMP_ACT_ALLOW', args: [{ index: 0, value: AF_VSOCK, op: 'SCMP_CMP_GT' }] },
];

/** Without x32: nobody uses it, and each architecture costs 13 ms of every start (the runtime compiles the filter anew). */
const architectures: Readonly<Record<string, readonly string[]>> = {
  x64: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86'],
  arm64: ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'],
};

/** System calls that one architecture has and needs. */
const onlyOn: Readonly<Record<string, readonly string[]>> = {
  x64: ['arch_prctl', 'modify_ldt'],
  arm64: ['arm_fadvise64_64', 'arm_sync_file_range', 'breakpoint', 'cacheflush', 'set_tls', 'sync_file_range2'],
};

/**
 * The filter for a machine.
 * @param arch Node's name of the architecture, `x64` or `arm64`; others get the common list without sub-architectures
 */
export function seccompProfile(arch: string): OciSeccomp {
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: ENOSYS,
    architectures: architectures[arch] ?? [],
    syscalls: [
      { names: [...allowedSyscalls, ...(onlyOn[arch] ?? [])], action: 'SCMP_ACT_ALLOW' },
      { names: refused, action: 'SCMP_ACT_ERRNO', errnoRet: EPERM },
      ...conditional,
    ],
  };
}
