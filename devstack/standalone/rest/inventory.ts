/** What placement keeps: providers with generations, inventories, traits; consumers with allocations. */

/** Inventory of one class. */
export interface Inventory { readonly total: number; readonly reserved: number; readonly allocation_ratio: number; readonly min_unit: number; readonly max_unit: number; readonly step_size: number }
/** Amounts by resource class. */
export type Amounts = Readonly<Record<string, number>>;

/** One provider. */
export interface Provider {
  readonly uuid: string;
  readonly name: string;
  generation: number;
  inventories: Readonly<Record<string, Inventory>>;
  traits: readonly string[];
}

/** One consumer: amounts by provider. */
export interface Consumer {
  readonly allocations: ReadonlyMap<string, Amounts>;
  readonly projectId: string;
  readonly userId: string;
  readonly generation: number;
}

/** The whole. */
export class Inventories {
  readonly providers = new Map<string, Provider>();
  readonly consumers = new Map<string, Consumer>();

  /** What consumers hold of a provider, by class. */
  used(provider: string): Map<string, number> {
    const sums = new Map<string, number>();
    for (const { allocations } of this.consumers.values()) {
      for (const [name, amount] of Object.entries(allocations.get(provider) ?? {})) sums.set(name, (sums.get(name) ?? 0) + amount);
    }
    return sums;
  }

  /** Why `wanted` does not fit; undefined if it does. @param except a consumer whose own allocation does not count */
  refuses(provider: Provider, wanted: Amounts, except?: string): string | undefined {
    const used = this.used(provider.uuid);
    const own = (except === undefined ? undefined : this.consumers.get(except)?.allocations.get(provider.uuid)) ?? {};
    for (const [name, amount] of Object.entries(wanted)) {
      const inventory = provider.inventories[name];
      if (!inventory) return `${name} is not offered by ${provider.name}`;
      const free = (inventory.total - inventory.reserved) * inventory.allocation_ratio - (used.get(name) ?? 0) + (own[name] ?? 0);
      if (amount > free || amount > inventory.max_unit) return `${amount} ${name} do not fit into ${Math.max(0, free)} of ${provider.name}`;
    }
    return undefined;
  }

  /** Gives a consumer what it shall hold now; nothing removes it. Raises the generation of every provider concerned. */
  hold(uuid: string, allocations: ReadonlyMap<string, Amounts>, owner: { readonly projectId: string; readonly userId: string }): void {
    const before = this.consumers.get(uuid);
    for (const id of new Set([...(before?.allocations.keys() ?? []), ...allocations.keys()])) {
      const provider = this.providers.get(id);
      if (provider) provider.generation++;
    }
    if (allocations.size === 0) this.consumers.delete(uuid);
    else this.consumers.set(uuid, { allocations, ...owner, generation: (before?.generation ?? 0) + 1 });
  }
}
