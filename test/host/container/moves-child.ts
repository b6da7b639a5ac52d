/** A service that resizes a container and is killed on the way (HAULIER_FAULT). Arguments: options, id, limits. */
import type { ContainerHostOptions } from '../../../src/container/container-host.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { LimitSpec } from '../../../src/container/spec.js';
import { log, operate } from './harness.js';

const [options = '', id = '', limits = ''] = process.argv.slice(2);
const host = new LocalContainerHost(JSON.parse(options) as ContainerHostOptions, log);
await host.start();
await operate((operation) => host.moves.resize(id, JSON.parse(limits) as LimitSpec, operation));
await host.stop();
