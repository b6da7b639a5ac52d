/**
 * Unmodified Debian systems are suspended and resumed: the same processes, a connection to nginx that is held across, no unit failed and
 * nothing that spins; and all that an administrator does works afterwards.
 */
import { connect, type Socket } from 'node:net';
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import { criuProblem, leftOvers } from './checkpoint-kit.js';
import { bootGuest, guestImageProblem, guestSystems, processList, shell, succeeds, untilAtRest, untilBooted, untilSettled } from './guest-systems.js';
import { makeBed, operate, until, type Bed } from './harness.js';

const problem = (await criuProblem()) ?? guestImageProblem(...guestSystems.map(({ name }) => name));
const test = anyTest as TestFn<{ bed: Bed }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/suspend-guests: ${problem}\n`);

const bridge = 'brqgst';
const address = '10.90.0.5';
const rounds = 3;

test.before(async (t) => {
  if (problem !== undefined) return;
  t.context.bed = await makeBed();
  await run('ip', ['link', 'add', bridge, 'type', 'bridge']);
  await run('ip', ['addr', 'add', '10.90.0.1/24', 'dev', bridge]);
  await run('ip', ['link', 'set', bridge, 'up']);
});
test.afterEach.always(async (t) => {
  for (const view of (await t.context.bed?.host.list()) ?? []) await operate((operation) => t.context.bed.host.destroy(view.id, operation));
});
test.after.always(async (t) => {
  if (!t.context.bed) return;
  await t.context.bed.end();
  await run('ip', ['link', 'del', bridge]);
});

/** A connection from outside; the server speaks first or is asked. */
class Line {
  private heard = '';
  ended = false;
  constructor(private readonly socket: Socket) {
    socket.on('data', (data: Buffer) => { this.heard += data.toString(); });
    socket.on('close', () => { this.ended = true; });
    socket.on('error', () => undefined);
  }

  static async open(port: number): Promise<Line> {
    return new Line(await until(`a connection to port ${port}`, () => new Promise<Socket | undefined>((resolve) => {
      const made: Socket = connect(port, address, () => resolve(made)).once('error', () => resolve(undefined));
    })));
  }

  /** Waits for an answer that matches, to a question or to nothing. */
  async answers(question: string, answer: RegExp): Promise<void> {
    this.heard = '';
    if (question) this.socket.write(question);
    await until(`an answer as ${answer}`, () => this.ended || answer.test(this.heard));
    if (this.ended) throw new Error(`the connection ended after ${JSON.stringify(this.heard)}`);
  }

  close(): void {
    this.socket.destroy();
  }
}

/** Kept open by nginx for 75 s. */
const request = 'GET / HTTP/1.1\r\nHost: guest\r\n\r\n';
const page = /^HTTP\/1\.1 200 OK[^]*<\/html>/;

for (const system of guestSystems) {
  real(system.name, async (t) => {
    const { bed } = t.context;
    const { host } = bed;
    const { id, ...rest } = await bootGuest(bed, system, bridge);
    const spec = { id, ...rest };
    // a user's systemd, as it runs for everybody who has logged in
    if (system.program === 'systemd') t.true(await succeeds(bed, id, 'useradd -m joe && systemctl start user@$(id -u joe)'));
    if (system.name === 'debian12') await shell(bed, id, 'systemctl stop console-getty'); // a console that nobody has open
    const line = await Line.open(80);
    t.teardown(() => line.close());
    await line.answers(request, page);
    const processes = await untilSettled(bed, id);
    t.regex(processes, /nginx: worker process/);
    if (system.program === 'systemd') t.regex(processes, /systemd --user[^]*\(sd-pam\)/);

    for (let round = 1; round <= rounds; round++) {
      t.deepEqual((await host.verdict(id)).findings, [], `verdict ${round}`);
      const began = performance.now();
      await operate((operation) => host.suspend(id, operation));
      const suspended = performance.now();
      t.deepEqual(await leftOvers(bed, spec), []);
      const resuming = performance.now();
      await operate((operation) => host.resume(id, operation));
      t.log(`round ${round}: suspend ${Math.round(suspended - began)} ms, resume ${Math.round(performance.now() - resuming)} ms`);
      t.is(await processList(bed, id), processes, `processes after round ${round}`);
      await line.answers(request, page);
      t.is(await shell(bed, id, system.failed), '', `failures after round ${round}`);
      await untilBooted(bed, id, system);
      await shell(bed, id, `echo seen after round ${round} > /dev/console`);
      await until('its console goes on', async () => (await host.consoleLog(id, undefined)).includes(`seen after round ${round}`));
      await untilAtRest(bed, id);
    }

    const works = async (what: string, command: string): Promise<void> => {
      t.true(await succeeds(bed, id, command), `${what}: ${await shell(bed, id, `${system.failed}; tail -n 20 /tmp/out`)}`);
    };
    if (system.program === 'systemd') {
      await works('systemd-run', 'systemd-run -q --wait true');
      for (const service of ['cron', 'ssh', 'nginx', 'systemd-journald']) await works(`restart of ${service}`, `timeout 10 systemctl restart ${service} && systemctl is-active ${service}`);
      await works('logger', 'logger after-the-resume');
      await until('the journal has it', () => succeeds(bed, id, 'journalctl -n 50 --no-pager | grep -q after-the-resume'));
      await works('a timer', 'systemd-run -q --on-active=100ms --timer-property=AccuracySec=10ms touch /run/fired');
      await until('the timer fired', () => succeeds(bed, id, 'test -e /run/fired'));
      const ssh = await Line.open(22);
      await ssh.answers('', /^SSH-2\.0-OpenSSH/);
      ssh.close();
      // a session through PAM and logind over D-Bus
      await works('logind', 'loginctl list-sessions && busctl call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.DBus.Peer Ping');
    } else {
      for (const service of ['cron', 'nginx']) await works(`restart of ${service}`, `service ${service} restart && service ${service} status`);
    }
    const again = await Line.open(80);
    await again.answers(request, page);
    again.close();
    await untilAtRest(bed, id);
    t.is(await shell(bed, id, system.failed), '');
    await operate((operation) => host.stopContainer(id, { timeoutMs: 30_000, retryMs: 10_000 }, operation));
    t.like(await host.view(id), { state: 'stopped', exitCode: 130 });
  });
}
