/** Endpoints out of a service catalog: keystone's own form, and the older one that nova-api puts into an RPC context. */

/** What is looked for. */
export interface EndpointWish {
  readonly serviceType: string;
  /** In order of preference; `internal` and `internalURL` mean the same. */
  readonly interfaces: readonly string[];
  /** Undefined: any. */
  readonly region: string | undefined;
}

type Fields = Readonly<Record<string, unknown>>;

function records(value: unknown): readonly Fields[] {
  return Array.isArray(value) ? value.filter((item): item is Fields => item !== null && typeof item === 'object') : [];
}

function urlOf(endpoint: Fields, kind: string): string | undefined {
  // v3: one entry an interface; v2 (contexts): one entry with all three addresses
  const url = 'interface' in endpoint ? (endpoint['interface'] === kind ? endpoint['url'] : undefined) : endpoint[`${kind}URL`];
  return typeof url === 'string' && url !== '' ? url : undefined;
}

/** The first endpoint that fits, or undefined. */
export function findEndpoint(catalog: readonly unknown[], wish: EndpointWish): string | undefined {
  const endpoints = records(catalog)
    .filter((service) => service['type'] === wish.serviceType)
    .flatMap((service) => records(service['endpoints']))
    .filter((endpoint) => wish.region === undefined || endpoint['region_id'] === wish.region || endpoint['region'] === wish.region);
  for (const name of wish.interfaces) {
    for (const endpoint of endpoints) {
      const url = urlOf(endpoint, name.replace(/URL$/, ''));
      if (url !== undefined) return url;
    }
  }
  return undefined;
}
