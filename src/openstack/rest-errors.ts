/** How a service's refusal becomes a HaulierError: every service words it differently. */
import { HaulierError } from '../base/errors.js';

const maxReason = 600;
const shortestSecret = 6;

/** The service's own word for what went wrong, and its machine-readable kind where it has one. */
export interface Refusal {
  readonly reason: string;
  /** neutron: the exception's class (`OverQuota`); placement: the error code (`placement.concurrent_update`). */
  readonly type: string | undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

const text = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined);

function fromRecord(body: Record<string, unknown>): Refusal | undefined {
  const neutron = body['NeutronError'];
  if (isRecord(neutron)) {
    const reason = [text(neutron['message']), text(neutron['detail'])].filter(Boolean).join(' ');
    return { reason, type: text(neutron['type']) };
  }
  if (typeof neutron === 'string') return { reason: neutron, type: undefined };
  const errors: unknown = body['errors'];
  const first: unknown = Array.isArray(errors) ? errors[0] : undefined;
  if (isRecord(first)) {
    const code = text(first['code']);
    return { reason: text(first['detail']) ?? text(first['title']) ?? '', type: code === 'placement.undefined_code' ? undefined : code };
  }
  // keystone {"error": {"code", "title", "message"}}; neutron's own faults {"badRequest": {"message"}}
  for (const value of Object.values(body)) {
    if (isRecord(value) && text(value['message'])) return { reason: String(value['message']), type: text(value['type']) };
  }
  const message = text(body['message']);
  return message === undefined ? undefined : { reason: message, type: undefined };
}

const entities: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': '\'', '#x27': '\'', nbsp: ' ' };

function fromHtml(body: string): string {
  return body
    .replace(/<(title|head|style|script)\b[^>]*>[\s\S]*?<\/\1>/gi, ' ')
    .replace(/<[^>]*>/g, ' ')
    .replace(/&(#?\w+);/g, (whole, name: string) => entities[name.toLowerCase()] ?? whole);
}

/** Reads the body of an error answer: neutron's, placement's and keystone's JSON, glance's HTML, plain text. */
export function readRefusal(body: unknown): Refusal {
  const refusal = isRecord(body) ? fromRecord(body) : typeof body === 'string' ? { reason: fromHtml(body), type: undefined } : undefined;
  const reason = (refusal?.reason ?? '').replace(/\s+/g, ' ').trim();
  return { reason: reason === '' ? 'no reason given' : reason, type: refusal?.type };
}

/** REST_FAILED of an answer; `secrets` never get into it, even if the service repeats them. */
export function restFailed(at: { service: string; method: string; path: string }, status: number, body: unknown, secrets: readonly string[]): HaulierError {
  const refusal = readRefusal(body);
  const reason = hide(refusal.reason, secrets).slice(0, maxReason);
  return new HaulierError('REST_FAILED', { ...at, status, reason, ...(refusal.type === undefined ? {} : { type: refusal.type }) });
}

/** `message` with each of `secrets` replaced by `***`; shorter ones than 6 characters would only spoil the words around. */
export function hide(message: string, secrets: readonly string[]): string {
  return secrets.filter((secret) => secret.length >= shortestSecret).reduce((shown, secret) => shown.replaceAll(secret, '***'), message);
}

/** HTTP status of a REST_FAILED; undefined of anything else. */
export function statusOf(error: unknown): number | undefined {
  if (!(error instanceof HaulierError) || error.code !== 'REST_FAILED') return undefined;
  const status = error.details['status'];
  return typeof status === 'number' ? status : undefined;
}

/** Kind of a REST_FAILED in the service's own words (see `Refusal.type`); undefined if it has none. */
export function typeOf(error: unknown): string | undefined {
  if (!(error instanceof HaulierError) || error.code !== 'REST_FAILED') return undefined;
  const type = error.details['type'];
  return typeof type === 'string' ? type : undefined;
}
