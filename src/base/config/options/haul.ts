/** The options of `[haulier]` that concern moving containers between hosts. */
import { boolean, choice, integer, port, text, typed } from '../option.js';
import { pathType } from '../own-types.js';

/** See above. */
export const haulOptions = {
  haul_ca: typed(pathType, { help: 'File (PEM) of the authority that signs the certificates of this deployment\'s hosts, and nothing else\'s. Without haul_ca, haul_cert and haul_key nothing listens, and containers do not move.' }),
  haul_cert: typed(pathType, { help: 'File (PEM) of this host\'s certificate, for server and client; `host` must be a DNS name in its subjectAltName.' }),
  haul_key: typed(pathType, { help: 'File (PEM) of its key; root\'s only.' }),
  haul_address: text({ default: '$my_ip', help: 'Address of this host for moving containers: it listens there, and connects from there.' }),
  haul_port: port({ default: 8791, help: 'Port for it, the same on all hosts.' }),
  haul_bandwidth: integer({ default: 0, min: 0, help: 'MiB per second that this host sends at most while moving containers; 0: no limit.' }),
  haul_compression: choice(['auto', 'on', 'off'], { default: 'auto', help: 'Whether what this host sends is compressed (zstd, or brotli where a Node.js is older than 22.15), to hosts that can take it. auto: while the wire, or haul_bandwidth, keeps it waiting and compressing it is faster. haul_bandwidth counts what goes over the wire.' }),
  haul_mode: choice(['auto', 'stop-and-copy', 'pre-copy', 'post-copy'], { default: 'auto', help: 'How the memory of a running server moves. auto: post-copy if haul_permit_post_copy, else pre-copy if the source\'s kernel tracks dirty memory (CONFIG_MEM_SOFT_DIRTY) and the server has haul_pre_copy_from of it, else stop-and-copy. A mode that the two hosts cannot do becomes stop-and-copy; the log says why.' }),
  haul_pre_copy_from: integer({ default: 256, min: 0, help: 'auto: a server with less memory in use than so many MiB is not copied ahead. Each round of copying ahead stops it for a moment, with control groups of version 1 for a tenth of a second.' }),
  haul_permit_post_copy: boolean({ default: false, help: 'A server may run at the destination before its memory is there: it stands still for a tenth of a second whatever its size, but a host, a service or a network that fails in the seconds after it ends the server. haul_mode = post-copy permits it too. Needed on both hosts, and vm.unprivileged_userfaultfd = 1 at the destination.' }),
  haul_permit_restart: boolean({ default: false, help: 'A live migration away from this host of a running server that criu would refuse: it is shut down here and booted at the destination, which loses its memory and its connections, instead of being refused. The log, and an event of the action, compute_live_migration_by_restart, say so.' }),
};
