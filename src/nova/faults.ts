/** What tells users how an operation went: action events and faults (contract C.2), and console tokens (C.15). */
import { HaulierError } from '../base/errors.js';
import { maskSecrets } from '../base/log.js';
import { RemoteFailure, type WireContext } from '../messaging/types.js';
import type { NovaObject } from './object.js';
import type { Conductor } from './types.js';

/** `InstanceFault.message` is a column of this length. */
const maxMessage = 255;

/** How an error reads to users of Nova. */
export interface ErrorText {
  /** HTTP-like; 500 shows `details` to admins. */
  readonly code: number;
  /** The message of a Nova exception; of any other error only its class, which is all that users may see. */
  readonly message: string;
  /** Stack. */
  readonly details: string;
}

/** The text of anything thrown (nova/compute/utils.py `exception_to_dict`). */
export function errorText(error: unknown): ErrorText {
  return maskSecrets(plainText(error)) as ErrorText;
}

function plainText(error: unknown): ErrorText {
  const details = error instanceof Error ? error.stack ?? error.message : String(error);
  if (error instanceof HaulierError) return { code: error.nova.code, message: error.message, details };
  if (error instanceof RemoteFailure) {
    const { code } = error.failure.kwargs;
    const isNova = error.failure.module.startsWith('nova.');
    return { code: typeof code === 'number' ? code : 500, message: isNova ? error.message : error.className, details: [details, ...error.failure.tb].join('\n') };
  }
  return { code: 500, message: error instanceof Error ? error.name : 'Error', details };
}

/** Cuts after `maxMessage` characters, not inside one. */
function cut(message: string): string {
  return [...message].slice(0, maxMessage).join('');
}

/** Stores a fault. @param host our `[DEFAULT] host` */
export async function createFault(conductor: Conductor, context: WireContext, instanceUuid: string, host: string, error: unknown): Promise<NovaObject> {
  const { code, message, details } = errorText(error);
  const fault = conductor.create('InstanceFault', { instance_uuid: instanceUuid, host, code, message: cut(message), details });
  await conductor.objectCall(context, fault, 'create');
  return fault;
}

/** Work that the service began by itself has no action to file an event under (contract K.16). */
async function ignoringMissingAction(call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (!(error instanceof RemoteFailure) || !['InstanceActionNotFound', 'InstanceActionEventNotFound'].includes(error.className)) throw error;
  }
}

/** Notes that an operation began. @param event `compute_<method>` */
export async function startEvent(conductor: Conductor, context: WireContext, instanceUuid: string, event: string, host: string): Promise<void> {
  await ignoringMissingAction(conductor.classCall(context, 'InstanceActionEvent', 'event_start', [instanceUuid, event], { want_result: false, host }));
}

/** Notes that it ended, well or with `error`. */
export async function finishEvent(conductor: Conductor, context: WireContext, instanceUuid: string, event: string, error?: unknown): Promise<void> {
  const text = error === undefined ? undefined : errorText(error);
  await ignoringMissingAction(conductor.classCall(context, 'InstanceActionEvent', 'event_finish_with_failure', [instanceUuid, event], {
    exc_val: text?.message ?? null, exc_tb: text?.details ?? null, want_result: false,
  }));
}

/** A console that a proxy may connect to. */
export interface ConsoleEndpoint {
  /** `serial`, `novnc`, `spice-html5`, `webmks`. */
  readonly type: string;
  /** Where the proxy connects, plain TCP. */
  readonly host: string;
  readonly port: number;
  readonly internalAccessPath?: string;
  /** `[serial_console] base_url` and its like. */
  readonly baseUrl: string;
}

/** What `get_*_console` answers. */
export interface ConsoleAnswer {
  readonly host: string;
  readonly port: number;
  readonly internal_access_path: string | null;
  readonly token: string;
  readonly access_url: string;
}

/** For noVNC the token goes inside the `path` parameter, else behind the base (nova/objects/console_auth_token.py `access_url`). */
function accessUrl(type: string, base: string, token: string): string {
  return type === 'novnc' ? `${base}?path=${encodeURIComponent(`?token=${token}`)}` : `${base}?token=${encodeURIComponent(token)}`;
}

/** Makes a token for a console. @param ttl seconds, `[consoleauth] token_ttl` */
export async function authorizeConsole(conductor: Conductor, context: WireContext, instanceUuid: string, endpoint: ConsoleEndpoint, ttl: number): Promise<ConsoleAnswer> {
  const token = conductor.create('ConsoleAuthToken', {
    console_type: endpoint.type, host: endpoint.host, port: endpoint.port, internal_access_path: endpoint.internalAccessPath ?? null,
    instance_uuid: instanceUuid, access_url_base: endpoint.baseUrl,
  });
  const text = String(await conductor.objectCall(context, token, 'authorize', {}, [ttl]));
  return { host: endpoint.host, port: endpoint.port, internal_access_path: endpoint.internalAccessPath ?? null, token: text, access_url: accessUrl(endpoint.type, endpoint.baseUrl, text) };
}
