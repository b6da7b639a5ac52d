/**
 * The benchmark's client, run inside the cloud's management network (`devstack/cloud exec`): commands as JSON lines on standard
 * input, one answer a line on standard output. The first command is the login.
 */
import { Boots } from './lib/boots.js';
import { obeyEach } from './lib/inside.js';
import type { Login } from './lib/nova-api.js';

/** What it is told. */
export type Command =
  | { readonly do: 'login'; readonly login: Login; readonly image: string; readonly flavor: string }
  | { readonly do: 'one' | 'many' | 'keep'; readonly host: string; readonly count: number }
  | { readonly do: 'clear' | 'end' };

let boots: Boots | undefined;

async function obey(command: Command): Promise<unknown> {
  if (command.do === 'login') {
    boots = await Boots.prepare(command.login, command.image, command.flavor);
    return boots.clear();
  }
  if (!boots) throw new Error('not logged in');
  switch (command.do) {
    case 'one': return boots.one(command.host);
    case 'many': return boots.many(command.host, command.count);
    case 'keep': return boots.keep(command.host, command.count);
    case 'clear': return boots.clear();
    case 'end': return boots.end();
  }
}

await obeyEach(obey);
