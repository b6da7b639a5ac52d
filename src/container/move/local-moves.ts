/** `ContainerMoves` of this host. */
import { stat } from 'node:fs/promises';
import { HaulierError } from '../../base/errors.js';
import type { Operation } from '../../base/operation.js';
import type { ContainerMoves } from '../container-moves.js';
import type { HostParts } from '../parts.js';
import type { ContainerSpec, LimitSpec } from '../spec.js';
import { rootFsPaths } from '../storage/root-fs.js';
import { abandonContainer, adoptContainer, markFolder, removeMark, seesMark } from './adopt.js';
import { dropKept, keepContainer, keptIds, keptSpec, resizeContainer, restoreKept } from './kept.js';

/** The moves, over the parts of a started host. */
export class LocalMoves implements ContainerMoves {
  /** @param parts asked at each call: they are there only after the host's start */
  constructor(private readonly parts: () => HostParts) {}

  async diskBytes(id: string): Promise<number> {
    const found = await stat(rootFsPaths(this.parts().store.paths(id).folder).disk).catch(() => undefined);
    if (!found) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
    return found.size;
  }
  resize(id: string, limits: LimitSpec, operation: Operation): Promise<void> {
    return resizeContainer(this.parts(), id, limits, operation);
  }
  keep(id: string, operation: Operation): Promise<void> {
    return keepContainer(this.parts(), id, operation);
  }
  restore(id: string, operation: Operation): Promise<boolean> {
    return restoreKept(this.parts(), id, operation);
  }
  drop(id: string): Promise<void> {
    return dropKept(this.parts(), id);
  }
  kept(): Promise<readonly string[]> {
    return keptIds(this.parts());
  }
  keptSpec(id: string): Promise<ContainerSpec | undefined> {
    return keptSpec(this.parts(), id);
  }
  adopt(spec: ContainerSpec, operation: Operation): Promise<void> {
    return adoptContainer(this.parts(), spec, operation);
  }
  abandon(id: string, operation: Operation): Promise<void> {
    return abandonContainer(this.parts(), id, operation);
  }
  mark(id: string): Promise<string | undefined> {
    return markFolder(this.parts(), id);
  }
  sees(mark: string): Promise<boolean> {
    return seesMark(this.parts(), mark);
  }
  unmark(mark: string): Promise<void> {
    return removeMark(this.parts(), mark);
  }
}
