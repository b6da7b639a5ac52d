#!/usr/bin/env node
/** The command line of the built-in control plane (devstack/solo). */
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from './client.js';
import { readArguments } from '../../src/base/config/arguments.js';
import { loadConfig } from '../../src/base/config/load.js';
import { messageOf } from '../../src/base/errors.js';

const usage = `usage: devstack/solo COMMAND

  create NAME --image TARBALL [--flavor nano|tiny|small] [--no-wait]
  list                       all servers
  show SERVER [--json]       a server's state, addresses, host, fault
  events SERVER              what was done with it
  console SERVER [LINES]     its console
  stop|start|pause|unpause|delete SERVER
  reboot SERVER [--hard]
  services                   the compute services and whether they are up
A SERVER is a name or an id. Commands that change something wait until it is done.
`;

const waitSeconds = 120;

interface Server { readonly id: string; readonly name: string; readonly status: string; readonly addresses: Record<string, { addr: string; version: number }[]>; readonly fault?: { message: string }; readonly [key: string]: unknown }

/** Options out of the words. */
function take(words: string[], name: string): string | undefined {
  const at = words.indexOf(name);
  if (at < 0) return undefined;
  const [, value] = words.splice(at, 2);
  if (value === undefined) throw new Error(`${name} needs a value`);
  return value;
}

function flag(words: string[], name: string): boolean {
  const at = words.indexOf(name);
  if (at >= 0) words.splice(at, 1);
  return at >= 0;
}

function addressesOf(server: Server): string {
  return Object.entries(server.addresses).map(([net, list]) => `${net}=${list.map(({ addr }) => addr).join(', ')}`).join('; ');
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function describe(server: Server): void {
  const rows = {
    id: server.id, name: server.name, status: server.status, task: server['OS-EXT-STS:task_state'], host: server['OS-EXT-SRV-ATTR:host'], addresses: addressesOf(server),
    flavor: (server['flavor'] as { original_name: string }).original_name, image: (server['image'] as { id: string }).id, created: server['created'],
    launched: server['OS-SRV-USG:launched_at'], fault: server.fault?.message,
  };
  for (const [name, value] of Object.entries(rows)) if (value !== undefined && value !== null) print(`${name.padEnd(10)} ${String(value)}`);
}

class Servers {
  constructor(private readonly client: Client) {}

  async all(): Promise<Server[]> {
    return (await this.client.call('nova', 'GET', '/v2.1/servers'))['servers'] as Server[];
  }
  async find(name: string | undefined): Promise<Server> {
    if (name === undefined) throw new Error(`which server?\n${usage}`);
    const found = (await this.all()).filter((server) => server.id === name || server.name === name);
    if (found.length !== 1) throw new Error(found.length === 0 ? `there is no server ${name}` : `${found.length} servers are named ${name}; give an id`);
    return found[0]!;
  }
  act(server: Server, body: Record<string, unknown>): Promise<Record<string, unknown>> {
    return this.client.call('nova', 'POST', `/v2.1/servers/${server.id}/action`, body);
  }
  /** Waits until nothing is being done any more. @returns the server; undefined when it is gone */
  async settled(id: string): Promise<Server | undefined> {
    const end = Date.now() + waitSeconds * 1000;
    for (;;) {
      const server = (await this.all()).find((one) => one.id === id);
      if (!server || (server['OS-EXT-STS:task_state'] === null && !['BUILD', 'DELETED'].includes(server.status))) return server;
      if (Date.now() > end) throw new Error(`${server.name} is still ${server.status} (${String(server['OS-EXT-STS:task_state'])}) after ${waitSeconds} s`);
      await sleep(30);
    }
  }
}

async function create(client: Client, servers: Servers, words: string[]): Promise<void> {
  const image = take(words, '--image');
  const flavor = take(words, '--flavor') ?? 'nano';
  const wait = !flag(words, '--no-wait');
  const [name] = words;
  if (!name || !image) throw new Error(`create needs a name and an image\n${usage}`);
  const imageRef = await client.image(image);
  const began = performance.now();
  const { server } = await client.call('nova', 'POST', '/v2.1/servers', { server: { name, imageRef, flavorRef: flavor } }) as { server: Server };
  const made = wait ? await servers.settled(server.id) : server;
  if (!made) throw new Error(`${name} vanished`);
  describe(made);
  if (!wait) return;
  if (made.status !== 'ACTIVE') throw new Error(`${name} is ${made.status}: ${made.fault?.message ?? 'no fault'}`);
  print(`${'took'.padEnd(10)} ${((performance.now() - began) / 1000).toFixed(2)} s from the request to ACTIVE`);
}

const actions: Readonly<Record<string, string>> = { stop: 'os-stop', start: 'os-start', pause: 'pause', unpause: 'unpause' };

async function change(servers: Servers, server: Server, body: Record<string, unknown>): Promise<void> {
  const began = performance.now();
  await servers.act(server, body);
  const after = await servers.settled(server.id);
  print(`${server.name} is ${after?.status ?? 'gone'} after ${((performance.now() - began) / 1000).toFixed(2)} s`);
  if (after?.status === 'ERROR') throw new Error(after.fault?.message ?? 'no fault');
}

async function run(client: Client, command: string, words: string[]): Promise<void> {
  const servers = new Servers(client);
  if (command in actions) return change(servers, await servers.find(words[0]), { [actions[command]!]: null });
  switch (command) {
    case 'create': return create(client, servers, words);
    case 'list': {
      for (const server of await servers.all()) print([server.id, server.name.padEnd(16), server.status.padEnd(8), addressesOf(server)].join('  '));
      return;
    }
    case 'show': {
      const json = flag(words, '--json');
      const server = await servers.find(words[0]);
      if (json) print(JSON.stringify(server, null, 2));
      else describe(server);
      return;
    }
    case 'events': {
      const server = await servers.find(words[0]);
      const { instanceActions: all } = await client.call('nova', 'GET', `/v2.1/servers/${server.id}/os-instance-actions`) as { instanceActions: { action: string; start_time: string; events: { event: string; result: string | null; details: string | null }[] }[] };
      for (const action of all) print(`${action.start_time}  ${action.action.padEnd(8)} ${action.events.map((event) => `${event.event}: ${event.result ?? 'running'}${event.details ? ` (${event.details})` : ''}`).join(', ')}`);
      return;
    }
    case 'console': {
      const lines = words[1] === undefined ? undefined : Number(words[1]);
      const { output } = await servers.act(await servers.find(words[0]), { 'os-getConsoleOutput': lines === undefined ? {} : { length: lines } });
      process.stdout.write(String(output));
      return;
    }
    case 'reboot': {
      const type = flag(words, '--hard') ? 'HARD' : 'SOFT';
      return change(servers, await servers.find(words[0]), { reboot: { type } });
    }
    case 'delete': {
      const server = await servers.find(words[0]);
      const began = performance.now();
      await client.call('nova', 'DELETE', `/v2.1/servers/${server.id}`);
      const left = await servers.settled(server.id);
      if (left) throw new Error(`${server.name} could not be deleted: ${left.fault?.message ?? left.status}`);
      print(`${server.name} is gone after ${((performance.now() - began) / 1000).toFixed(2)} s`);
      return;
    }
    case 'services': {
      const { services } = await client.call('nova', 'GET', '/v2.1/os-services') as { services: Record<string, string>[] };
      for (const service of services) print(`${service['binary']!.padEnd(16)} ${service['host']!.padEnd(12)} ${service['status']} ${service['state']}`);
      return;
    }
    default: throw new Error(`there is no command ${command}\n${usage}`);
  }
}

async function main(): Promise<void> {
  const { sources, overrides, rest } = readArguments(process.argv.slice(2));
  const [command = 'help', ...words] = rest;
  if (['help', '--help', '-h'].includes(command)) {
    process.stdout.write(usage);
    return;
  }
  const { config } = await loadConfig({ sources, overrides });
  const { auth_url: url, username, password } = config.placement;
  const client = new Client({ address: new URL(url ?? 'http://127.0.0.1:5000').hostname, username: username ?? '', password: password ?? '' });
  await client.logIn();
  await run(client, command, words);
}

main().catch((error: unknown) => {
  process.stderr.write(`solo: ${messageOf(error)}\n`);
  process.exitCode = 1;
});
