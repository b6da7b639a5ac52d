import type { HaulPolicy } from './memory/mode.js';
import type { Compression } from './wire/packing.js';

/** How this room is set up; filled from the option table. */
export interface HaulSettings {
  /** Name of this host: its certificate carries it, and other hosts know it by it. */
  readonly host: string;
  /** Files (PEM): the deployment's authority, this host's certificate and key. Without all three this host takes part in no hauls. */
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  /** Where to listen: the migration address. */
  readonly address: string;
  readonly port: number;
  /** MiB per second that this host sends at most, all hauls together; 0: no limit. */
  readonly bandwidthMiB: number;
  /** Of what this host sends; none if left out. */
  readonly compression?: Compression;
  /** How the memory of running containers moves. */
  readonly policy: HaulPolicy;
}
