/** The parts that a container's life is made with, in one place, so that each operation is a plain function of them. */
import { join } from 'node:path';
import { readFileSync } from 'node:fs';
import type { Log } from '../base/log.js';
import type { CgroupLayout } from './cgroup.js';
import { PageKeeper } from './checkpoint/page-keeper.js';
import type { ContainerHostOptions } from './container-host.js';
import { Ovs } from './network/ovs.js';
import { Plugger } from './network/plug.js';
import { Runc } from './runtime/runc.js';
import { InstanceStore } from './state.js';
import type { ContainerStorage } from './storage-port.js';

/** See above. */
export interface HostParts {
  readonly options: ContainerHostOptions;
  readonly log: Log;
  readonly store: InstanceStore;
  readonly runc: Runc;
  readonly plugger: Plugger;
  readonly storage: ContainerStorage;
  readonly cgroups: CgroupLayout;
  /** Looks after memory that is still coming in. */
  readonly pages: PageKeeper;
  readonly exitFolder: string;
  /** Hard limit of open files that this service may hand on. */
  readonly maxOpenFiles: number;
}

/** Makes them. */
export function makeParts(options: ContainerHostOptions, storage: ContainerStorage, cgroups: CgroupLayout, log: Log): HostParts {
  const store = new InstanceStore(options.instancesPath, options.runPath, options.host);
  const runc = new Runc(options.runc, join(options.runPath, 'runc'), options.criu);
  return {
    options,
    log,
    store,
    runc,
    pages: new PageKeeper({ options, store, log, runc, cgroups }),
    plugger: new Plugger(new Ovs(options.ovsVsctl, options.ovsdbConnection), options.runPath, options.networkMtu),
    storage,
    cgroups,
    exitFolder: join(options.runPath, 'exits'),
    maxOpenFiles: hardOpenFiles(readFileSync('/proc/self/limits', 'utf8')),
  };
}

const fallbackOpenFiles = 4096;

/** The hard limit of open files, from the text of `/proc/self/limits`. */
export function hardOpenFiles(limits: string): number {
  const match = /^Max open files\s+\S+\s+(\S+)/m.exec(limits);
  const value = Number(match?.[1]);
  return Number.isFinite(value) && value > 0 ? value : fallbackOpenFiles;
}

/** Where a container's cgroups are, below each hierarchy. */
export function cgroupsPath(parts: Pick<HostParts, 'options'>, id: string): string {
  return join('/', parts.options.cgroupParent, id);
}
