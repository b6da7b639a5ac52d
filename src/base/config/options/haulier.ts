/** `[haulier]`: what nova-compute does not have. */
import { choice, integer, text, typed, type Section } from '../option.js';
import { commandType, listenType, pathType } from '../own-types.js';
import { haulOptions } from './haul.js';

const mebi = 1024 * 1024;

/** The section. An unknown name in it is an error. */
export const haulier = {
  help: 'Haulier\'s own options. A name that is not in this list is an error.',
  strict: true,
  options: {
    hypervisor_hostname: text({ default: '$host', help: 'Name of this host\'s node and resource provider. When Haulier takes over a host: the name that it has.' }),
    run_path: typed(pathType, { default: '/run/haulier', help: 'Folder of what does not survive a boot of the host: runtime state, pid files, console sockets.' }),
    runc: typed(commandType, { default: 'runc', help: 'The OCI runtime.' }),
    conmon: typed(commandType, { default: 'conmon', help: 'The monitor beside each container.' }),
    criu: typed(commandType, { default: 'criu', help: 'The checkpoint tool.' }),
    ovs_vsctl: typed(commandType, { default: 'ovs-vsctl', help: 'The command for Open vSwitch.' }),
    cgroup_parent: typed(pathType, { default: '/haulier', help: 'cgroup under which those of the containers are made.' }),
    // From 0x70000000, 4094 ranges end at 0x7ffdffff. This lies above useradd's sub-uids (login.defs SUB_UID_MAX 600100000),
    // Incus (1000000 + 10^9) and systemd-nspawn (to 1879048191), below systemd's foreign range (from 2147352576), podman's
    // `containers` (from 2147483647) and 2^31, where some programs take an id for negative.
    subid_base: integer({ default: 0x70000000, min: 65536, max: 0xffffffff, help: 'First host uid and gid for containers. The ids from there must be free on every host between which containers move.' }),
    subid_ranges: integer({ default: 4094, min: 1, max: 65535, help: 'Ranges of 65536 from there, one for each container.' }),
    default_root_gb: integer({ default: 10, min: 1, help: 'GiB of the root file system where the flavor has 0.' }),
    image_max_bytes: integer({ default: 64 * 1024 * mebi, min: mebi, help: 'Bytes that an image may have when unpacked.' }),
    image_max_entries: integer({ default: 2_000_000, min: 1, help: 'Files, folders and links that an image may have, all its layers together.' }),
    image_timeout: integer({ default: 7200, min: 1, help: 'Seconds that download and unpacking of an image may take.' }),
    console_log_bytes: integer({ default: mebi, min: 4096, help: 'Bytes of console output that are kept for each container.' }),
    pids_limit: integer({ default: 4096, min: 1, max: 4194304, help: 'Processes and threads that a container may have.' }),
    lazy_resume: choice(['auto', 'never'], { default: 'auto', help: 'auto: a server with much memory runs again before all of it is read from the disk, where the host has vm.unprivileged_userfaultfd = 1.' }),
    crash_dump_path: text({ default: '$state_path/crash-dumps', help: 'Folder of the core files that a server\'s crash dump makes, closed to all but root; empty: no crash dumps.' }),
    crash_dump_keep: integer({ default: 3, min: 1, help: 'Crash dumps that are kept of each server; older ones are removed.' }),
    crash_dump_max_bytes: integer({ default: 20 * 1024 * mebi, min: mebi, help: 'Bytes of disk that all crash dumps may take together; the oldest are removed.' }),
    snapshot_key: typed(pathType, { help: 'File with the keys that encrypt and authenticate snapshots with memory, readable by root alone; the same on every host. `haulier snapshot-key` makes one. Without it there are no such snapshots.' }),
    lxcfs_path: text({ default: '/var/lib/lxcfs', help: 'Where lxcfs is mounted. If it is when a container starts, that sees memory, processors, uptime and load of its own, else those of the host; empty: always those of the host.' }),
    quiesce_timeout: integer({ default: 120, min: 1, help: 'Seconds after which a quiesced server goes on by itself.' }),
    http_listen: typed(listenType, { default: '127.0.0.1:8790', help: 'Where health, metrics and progress are served: address:port, or off.' }),
    ...haulOptions,
  },
} satisfies Section;
