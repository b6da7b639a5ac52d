/** The serial console as a user has it: a URL with a token from the API, a websocket to nova-serialproxy, a shell at its other end. */
import test from 'ava';
import { Agent, WebSocket } from 'undici';
import { socketOf } from './lib/bridge.js';
import { until } from './lib/machine.js';
import { Scene } from './lib/scene.js';

/** A terminal on a console. */
class Terminal {
  heard = '';
  closed = false;
  readonly #socket: WebSocket;

  constructor(url: string, dispatcher: Agent) {
    this.#socket = new WebSocket(url, { protocols: ['binary'], dispatcher });
    this.#socket.binaryType = 'arraybuffer';
    this.#socket.addEventListener('message', ({ data }) => { this.heard += Buffer.from(data as ArrayBuffer).toString(); });
    this.#socket.addEventListener('close', () => { this.closed = true; });
    this.#socket.addEventListener('error', () => { this.closed = true; });
  }

  async opened(): Promise<boolean> {
    return until('the connection opens or closes', 20, async () => this.closed || this.#socket.readyState === WebSocket.OPEN).then(() => !this.closed);
  }

  type(text: string): void {
    this.#socket.send(Buffer.from(text));
  }

  async hears(pattern: RegExp): Promise<void> {
    await until(`${pattern} on the console`, 20, async () => {
      if (this.closed) throw new Error(`the proxy hung up: ${this.heard}`);
      return pattern.test(this.heard);
    }, () => this.heard);
  }

  end(): void {
    this.#socket.close();
  }
}

test.serial('a command typed through nova-serialproxy is answered; two sessions see each other; a wrong token is shown the door', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host2' });
  const agent = new Agent({ connect: { socketPath: await socketOf('serialproxy') } });
  scene.after(() => agent.destroy());
  const open = async (): Promise<Terminal> => {
    const { remote_console: told } = await scene.admin.call<{ remote_console: { url: string; protocol: string; type: string } }>('nova', 'POST', `/v2.1/servers/${server.id}/remote-consoles`, { remote_console: { protocol: 'serial', type: 'serial' } });
    t.regex(told.url, /^ws:\/\/10\.70\.0\.10:6083\/\?token=[0-9a-f-]{36}$/);
    const terminal = new Terminal(told.url, agent);
    scene.after(async () => terminal.end());
    t.true(await terminal.opened());
    return terminal;
  };
  const first = await open();
  first.type('\n'); // askfirst, as on any serial line
  await first.hears(/# /);
  first.type('echo answer $((6 * 7)) of $(hostname)\n');
  await first.hears(new RegExp(`answer 42 of ${server.name}`));
  const second = await open();
  second.type('echo second $((40 + 3))\n');
  await Promise.all([first.hears(/second 43/), second.hears(/second 43/)]);
  first.end();
  second.type('echo alone $((40 + 4))\n');
  await second.hears(/alone 44/);

  const stranger = new Terminal('ws://10.70.0.10:6083/?token=00000000-0000-4000-8000-000000000000', agent);
  await until('it is closed', 20, async () => stranger.closed);
  t.is(stranger.heard, '');

  await scene.act(server.id, { 'os-stop': null });
  await scene.reach(server.id, 'SHUTOFF');
  await until('the session ends with the server', 20, async () => second.closed);
  const refused = await scene.admin.raw('nova', 'POST', `/v2.1/servers/${server.id}/remote-consoles`, { remote_console: { protocol: 'serial', type: 'serial' } });
  t.is(refused.status, 400, refused.text);
});
