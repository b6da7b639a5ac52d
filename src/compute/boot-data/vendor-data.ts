/** What the operator tells every server (nova/api/metadata/vendordata_json.py, base.py `_vendor_data2`). */
import { readFile } from 'node:fs/promises';
import type { Compute } from '../compute.js';
import { HaulierError, messageOf } from '../../base/errors.js';

/** Contents of `vendor_data.json`, undefined if the operator gives none, and of `vendor_data2.json`. */
export interface VendorData {
  readonly first: unknown;
  readonly second: Readonly<Record<string, unknown>>;
}

/**
 * Reads it anew for each server. Vendor data of services (`DynamicJSON`) is not asked for: the log says so.
 * @throws CONFIG_INVALID if the file is not there or no JSON; UNSUPPORTED where servers must not boot without the services' data
 */
export async function vendorData(compute: Compute): Promise<VendorData> {
  const { providers, file, targets, failureFatal } = compute.settings.vendorData;
  if (providers.includes('DynamicJSON') && targets.length > 0) {
    if (failureFatal) throw new HaulierError('UNSUPPORTED', { what: 'vendor data of services (vendordata_dynamic_targets), which vendordata_dynamic_failure_fatal makes a must,' });
    compute.log.warn({ targets: targets.length }, 'vendordata_dynamic_targets are not asked: the config drive lacks their vendor data');
  }
  if (!providers.includes('StaticJSON')) return { first: undefined, second: {} };
  const content = file === undefined ? {} : await read(file);
  return { first: content, second: { static: content } };
}

async function read(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw new HaulierError('CONFIG_INVALID', { file: 'nova.conf', section: 'api', option: 'vendordata_jsonfile_path', problem: messageOf(error) }, { cause: error });
  }
}
