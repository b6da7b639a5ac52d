/** Connections of one client: undici agents with the section's TLS and time-outs. */
import { readFileSync } from 'node:fs';
import { Agent } from 'undici';
import { HaulierError, messageOf } from '../base/errors.js';
import type { AuthOptions } from './auth-options.js';

const defaultTimeoutSeconds = 60;
const maxConnectMs = 10_000; // a connection that is not there by then is tried again

/** What a request travels on. */
export interface Transport {
  /** For requests that may be repeated: connections are kept and reused. */
  readonly kept: Agent;
  /**
   * For requests that must not be repeated: each on a new connection. uwsgi closes kept connections without saying so, and a POST
   * that fails on such a one may or may not have been read; on a new connection the question does not arise.
   */
  readonly fresh: Agent;
  close(): Promise<void>;
}

function pem(options: AuthOptions, option: 'cafile' | 'certfile' | 'keyfile'): string | undefined {
  const path = options[option];
  if (path === undefined) return undefined;
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new HaulierError('CONFIG_INVALID', { file: 'nova.conf', section: options.section, option, problem: messageOf(error) }, { cause: error });
  }
}

/**
 * Opens nothing yet; reads the certificates.
 * @throws CONFIG_INVALID if a certificate file cannot be read
 */
export function createTransport(options: AuthOptions): Transport {
  const timeoutMs = (options.timeout ?? defaultTimeoutSeconds) * 1000;
  const cert = pem(options, 'certfile');
  const settings: Agent.Options = {
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    connect: {
      timeout: Math.min(timeoutMs, maxConnectMs),
      ca: pem(options, 'cafile'),
      cert,
      key: pem(options, 'keyfile') ?? cert, // keystoneauth too takes the key from certfile if no keyfile is named
      rejectUnauthorized: !(options.insecure ?? false),
    },
  };
  const kept = new Agent(settings);
  const fresh = new Agent(settings);
  return {
    kept,
    fresh,
    close: async () => {
      await Promise.all([kept.destroy(), fresh.destroy()]);
    },
  };
}

/** What makes two sections' connections interchangeable. */
export function transportKey(options: AuthOptions): string {
  return JSON.stringify([options.cafile, options.certfile, options.keyfile, options.insecure ?? false, options.timeout ?? defaultTimeoutSeconds]);
}
