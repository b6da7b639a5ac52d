/** Types of values that only `[haulier]` has. */
import { isIPv6 } from 'node:net';
import { ValueProblem, type ValueType } from './types.js';

/** Where a server listens. */
export interface ListenAddress {
  /** IP address or host name, IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
}

/** `host:port` or `[v6]:port`; `off` or empty: none. */
export const listenType: ValueType<ListenAddress | 'off'> = {
  allowed: 'address:port, or off',
  parse(text) {
    if (text === '' || text.toLowerCase() === 'off') return 'off';
    const match = /^(?:\[([^\]]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text);
    const host = match?.[1] ?? match?.[2];
    const port = Number(match?.[3]);
    if (host === undefined || port > 65535 || (match?.[1] !== undefined && !isIPv6(match[1]))) throw new ValueProblem('is not address:port, or off');
    return { host, port };
  },
  format: (value) => (value === 'off' ? 'off' : `${value.host.includes(':') ? `[${value.host}]` : value.host}:${value.port}`),
};

/** Absolute path without `.` and `..`; a slash at the end is taken off. */
export const pathType: ValueType<string> = {
  allowed: 'absolute path',
  parse(text) {
    if (!/^(\/[^/\0]+)+\/?$/.test(text) || /\/\.{1,2}(\/|$)/.test(text)) throw new ValueProblem('is not an absolute path (without . and ..)');
    return text.replace(/\/$/, '');
  },
  format: (value) => value,
};

/** Name of a command in PATH, or its absolute path; no arguments. */
export const commandType: ValueType<string> = {
  allowed: 'name of a command or its absolute path',
  parse(text) {
    if (!/^(\/[^\s\0]+|[^\s/\0]+)$/.test(text)) throw new ValueProblem('is not the name of a command or its absolute path');
    return text;
  },
  format: (value) => value,
};
