/** The options of `[haulier]` that concern moving containers between hosts. */
import { integer, port, text, typed } from '../option.js';
import { pathType } from '../own-types.js';

/** See above. */
export const haulOptions = {
  haul_ca: typed(pathType, { help: 'File (PEM) of the authority that signs the certificates of this deployment\'s hosts, and nothing else\'s. Without haul_ca, haul_cert and haul_key nothing listens, and containers do not move.' }),
  haul_cert: typed(pathType, { help: 'File (PEM) of this host\'s certificate, for server and client; `host` must be a DNS name in its subjectAltName.' }),
  haul_key: typed(pathType, { help: 'File (PEM) of its key; root\'s only.' }),
  haul_address: text({ default: '$my_ip', help: 'Address of this host for moving containers: it listens there, and connects from there.' }),
  haul_port: port({ default: 8791, help: 'Port for it, the same on all hosts.' }),
  haul_bandwidth: integer({ default: 0, min: 0, help: 'MiB per second that this host sends at most while moving containers; 0: no limit.' }),
};
