/** Small checks on JSON that strangers wrote. */

/** The members of an object; undefined for anything else. */
export function fieldsOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
}

/** Digests that are known here (OCI image-spec, descriptor.md). */
export const digestPattern = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

/** Algorithm and hex digits of a digest that matches the pattern. */
export function splitDigest(digest: string): { readonly algorithm: string; readonly value: string } {
  const [algorithm = '', value = ''] = digest.split(':');
  return { algorithm, value };
}
