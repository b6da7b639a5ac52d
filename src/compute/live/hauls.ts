/** Hauls of running containers, as this room sees them: what a live migration needs of the haul room, and a test's fake can be. */
import type { Operation } from '../../base/operation.js';
import type { HostFacts } from '../../container/checkpoint/facts.js';
import type { VifSpec } from '../../container/spec.js';
import type { HaulOptions, HaulResult } from '../../haul/progress.js';

/** How a host presents itself to the other one of a live migration. Plain JSON, no secret. */
export interface Introduction {
  readonly host: string;
  readonly address: string;
  readonly port: number;
  /** Version of the haul protocol, `1.0`. */
  readonly protocol: string;
  /** What a restore depends on. */
  readonly facts: HostFacts;
}

/** What the source must know to haul: the destination's address and a one-time token. A secret: never logged, never stored. */
export interface HaulTicket {
  readonly address: string;
  readonly port: number;
  readonly token: string;
}

/** A haul that is to come here. */
export interface ComingHaul {
  readonly instance: string;
  /** Of the migration that it belongs to: a later one's haul is not this one's. */
  readonly migration: string;
  readonly from: Pick<Introduction, 'host' | 'address' | 'port'>;
  /** Its ports as they are plugged here; others it must not have. */
  readonly vifs: readonly VifSpec[];
  /** Told when the container runs here. Must not throw. */
  onArrival(): void;
}

/** Where the container is of a server that this host hauled away: it goes on here, the other host has it, or that is not known yet. */
export type Fate = 'here' | 'there' | 'open';

/** The hauls of one host. */
export interface LiveHauls {
  /**
   * Ends what an earlier life of the service began, before anything else is recovered.
   * @returns servers whose container stands frozen until its destination has said who has it, each with the end of the asking
   */
  start(): Promise<ReadonlyMap<string, Promise<void>>>;
  /** @throws HAUL_OFF where this host takes part in no hauls; COMMAND_FAILED without criu or runc */
  introduce(): Promise<Introduction>;
  /** Why a container of that host could not go on here, in plain words; undefined if it can. */
  objection(source: Introduction): Promise<string | undefined>;
  /** Announces a haul; replaces what was announced for the instance. @throws HAUL_OFF */
  expect(haul: ComingHaul): HaulTicket;
  /** The migration whose haul is expected. */
  expected(instance: string): string | undefined;
  /** True while a haul of the instance to this host is under way and undecided. */
  coming(instance: string): Promise<boolean>;
  /** Withdraws the announcement, if it is that migration's. */
  forget(instance: string, migration: string): void;
  /** Hauls. @throws whatever stopped it: then `fate` says where it is */
  haul(instance: string, to: string, ticket: HaulTicket, operation: Operation, options: HaulOptions): Promise<HaulResult>;
  /** After `haul` has failed, or after a crash. */
  fate(instance: string): Promise<Fate>;
}
