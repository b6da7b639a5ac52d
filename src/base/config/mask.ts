/** Hiding secrets of values before they are shown. */
import type { Option } from './option.js';

/** What stands for a secret. */
export const masked = '***';

const hostPort = /^([^\s@:,[\]]*|\[[0-9a-f:.]+\])(:\d+)?$/i;

/**
 * A URL with its passwords hidden, of every host in `scheme://u:p@h1,u:p@h2/path`. A URL that is not clearly made so (a
 * password with a raw `/` or `,` in it reads otherwise) becomes `***` as a whole. Text that is no URL is returned as it is.
 */
export function maskUrl(url: string): string {
  const match = /^([a-z][a-z0-9+.-]*:\/\/)([^/?#]*)(.*)$/is.exec(url);
  if (!match) return url.includes('://') ? masked : url;
  const [, scheme = '', hosts = '', rest = ''] = match;
  if (rest.includes('@')) return masked;
  const parts = hosts.split(',').map((part) => {
    const at = part.lastIndexOf('@');
    if (!hostPort.test(part.slice(at + 1))) return undefined;
    if (at < 0) return part;
    const user = part.slice(0, at).split(':', 1)[0]!;
    return `${user}${part.slice(0, at).includes(':') ? `:${masked}` : ''}@${part.slice(at + 1)}`;
  });
  return parts.includes(undefined) ? masked : scheme + parts.join(',') + rest;
}

/**
 * The text of a value as it may be shown.
 * @param secret the option is secret, or the value was made from one
 */
export function maskText(option: Option, name: string, text: string, secret = option.secret): string {
  if (name === 'transport_url') return maskUrl(text);
  if (secret) return text === '' ? '' : masked;
  return text.includes('://') ? text.split(/([\s,](?=[a-z][a-z0-9+.-]*:\/\/))/i).map(maskUrl).join('') : text;
}
