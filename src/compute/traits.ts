/** Traits of the host: only what is true; those of capabilities that are absent are taken off (contract E.1). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../base/package-root.js';
import type { Abilities } from '../container/abilities.js';
import type { HostResources } from '../container/spec.js';
import type { Release } from '../nova/types.js';

interface Source { readonly capability_to_trait: Readonly<Record<string, Readonly<Record<string, string>>>> }

/** Driver capabilities (nova/virt/driver.py) that Haulier has. */
export const capabilities = ['supports_image_type_raw', 'supports_attach_interface'] as const;

const capabilityTraits = (JSON.parse(readFileSync(join(packageRoot, 'schemas/source/compute-rpc-6.x.json'), 'utf8')) as Source).capability_to_trait;

/** Every trait that this service decides about, present or not. Others on the provider are left alone. */
export const managedTraits: readonly string[] = [...new Set(Object.values(capabilityTraits).flatMap((map) => Object.values(map))), 'COMPUTE_STATUS_DISABLED'];

/** What this host is and can. */
export function hostTraits(release: Release): string[] {
  const map = capabilityTraits[release] ?? {};
  return ['COMPUTE_NODE', ...(release === '2026.2' ? ['OWNER_NOVA'] : []), ...capabilities.flatMap((capability) => map[capability] ?? [])];
}

/** CPU flag of /proc/cpuinfo to trait (nova/virt/libvirt/utils.py CPU_TRAITS_MAPPING). */
const flagTraits: Readonly<Record<string, string>> = {
  '3dnow': '3DNOW', abm: 'ABM', aes: 'AESNI', avx: 'AVX', avx2: 'AVX2', avx512bw: 'AVX512BW', avx512cd: 'AVX512CD', avx512dq: 'AVX512DQ', avx512f: 'AVX512F',
  avx512vl: 'AVX512VL', avx512_vnni: 'AVX512VNNI', bmi1: 'BMI', bmi2: 'BMI2', pclmulqdq: 'CLMUL', f16c: 'F16C', fma: 'FMA3', fma4: 'FMA4', mmx: 'MMX',
  sha_ni: 'SHA', sse: 'SSE', sse2: 'SSE2', pni: 'SSE3', sse4_1: 'SSE41', sse4_2: 'SSE42', sse4a: 'SSE4A', ssse3: 'SSSE3', tbm: 'TBM', xop: 'XOP',
};

/** Traits of the CPU, which a container sees as it is. */
export function cpuTraits(resources: HostResources): string[] {
  if (resources.architecture !== 'x86_64') return [];
  return resources.cpuFlags.flatMap((flag) => (flagTraits[flag] ? [`HW_CPU_X86_${flagTraits[flag]}`] : []));
}

/** Traits of Haulier's own: `trait:CUSTOM_HAULIER_FREEZE=required` in a flavor asks for a host whose servers can be suspended. */
export const ownTraits = ['CUSTOM_HAULIER_FREEZE', 'CUSTOM_HAULIER_LAZY_PAGES', 'CUSTOM_HAULIER_DIRTY_TRACKING'] as const;

/** Those that are true of a host with these abilities. */
export function abilityTraits({ problem, features }: Abilities): string[] {
  if (problem !== undefined) return [];
  const [freeze, lazy, dirty] = ownTraits;
  return [freeze, ...(features.uffd && features['uffd-noncoop'] ? [lazy] : []), ...(features.mem_dirty_track ? [dirty] : [])];
}
