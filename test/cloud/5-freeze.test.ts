/** suspend and resume through the real Nova, and what may come between. */
import test from 'ava';
import { freezeFaultPoints } from '../../src/compute/methods/freeze.js';
import { count, countsOn, startCounter } from './lib/counter.js';
import { Connection } from './lib/connection.js';
import { container, died, guest, killHaulier, startHaulier, stopHaulier, traces } from './lib/host.js';
import { mustRun, until } from './lib/machine.js';
import { Scene } from './lib/scene.js';
import { snapshot } from './lib/snapshots.js';
import type { Server } from './lib/types.js';

const host = 'host2';

async function suspend(scene: Scene, server: Server): Promise<Server> {
  await scene.act(server.id, { suspend: null });
  return scene.reach(server.id, 'SUSPENDED');
}
async function resume(scene: Scene, server: Server): Promise<Server> {
  await scene.act(server.id, { resume: null });
  return scene.reach(server.id, 'ACTIVE');
}

/** Nothing of it runs and no memory is held; only its disk and its images are there. */
async function notRunning(server: Server, scene: Scene): Promise<string[]> {
  const ports = (await scene.ports(server.id)).map((port) => port.id.slice(0, 11));
  return (await traces(host, [server.id, ...ports])).filter((line) => !/: path \/(var\/lib\/nova\/instances|run\/haulier\/containers)\//.test(line));
}

test.serial('processes, memory and a connection from outside come back; meanwhile nothing runs', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host });
  const address = scene.addresses(server, 4)[0]!;
  await startCounter(host, server.id);
  // each connection has a process of its own, which answers with its number
  await guest(host, server.id, 'printf \'#!/bin/sh\\nwhile read line; do echo "$$ got $line"; done\\n\' >/run/answer; chmod 755 /run/answer; setsid nc -ll -p 7000 -e /run/answer </dev/null >/dev/null 2>&1 &');
  await until('somebody listens', 10, async () => (await guest(host, server.id, 'netstat -ltn')).includes(':7000 '));
  await guest(host, server.id, 'mkdir -p /run/ball; mount -t tmpfs none /run/ball; head -c 20000000 /dev/urandom >/run/ball/ball; sha256sum /run/ball/ball >/run/sum');
  const connection = await Connection.open(address, 7000);
  scene.after(async () => connection.end());
  const handler = await connection.ask('one');
  t.regex(handler, /^\d+ got one$/);

  for (const round of ['two', 'three']) {
    const before = await count(host, server.id);
    const seen = await suspend(scene, server);
    t.like(seen, { 'OS-EXT-STS:vm_state': 'suspended', 'OS-EXT-STS:power_state': 7, 'OS-EXT-STS:task_state': null });
    t.deepEqual(await notRunning(server, scene), []);
    t.deepEqual((await scene.finished(server.id, 'suspend')).events.map((event) => [event.event, event.result, event.host]), [['compute_suspend_instance', 'Success', host]]);
    const again = await resume(scene, server);
    t.is(again['OS-EXT-STS:power_state'], 1);
    t.deepEqual((await scene.finished(server.id, 'resume')).events.map((event) => [event.event, event.result, event.host]), [['compute_resume_instance', 'Success', host]]);
    await countsOn(host, server.id, before);
    t.is(await connection.ask(round), handler.replace('one', round), 'the same process answers on the same connection');
    t.true(connection.open);
    t.deepEqual(await scene.silent(again), []);
  }
  t.is((await guest(host, server.id, 'sha256sum -c /run/sum')).trim(), '/run/ball/ball: OK');
  t.is(await mustRun(host, ['sh', '-c', `ls -d /var/lib/nova/instances/${server.id}/checkpoint 2>/dev/null; true`]), '', 'the images are gone');
});

test.serial('a suspended server outlives stop and kill -9 of the service, and is deleted without a trace', async (t) => {
  const scene = await Scene.begin(t);
  const [server, doomed] = await Promise.all([scene.active({ host }), scene.active({ host })]);
  await startCounter(host, server.id);
  const before = await count(host, server.id);
  await Promise.all([suspend(scene, server), suspend(scene, doomed)]);
  for (const end of [stopHaulier, killHaulier]) {
    await end(host);
    await startHaulier(host);
    t.like(await scene.show(server.id), { status: 'SUSPENDED', 'OS-EXT-STS:power_state': 7 });
    t.deepEqual(await notRunning(server, scene), []);
  }
  await scene.delete(doomed.id);
  await scene.nothingLeft(doomed.id);
  await resume(scene, server);
  await countsOn(host, server.id, before);
  t.deepEqual(await scene.silent(server), []);
});

test.serial('killed at every step of a suspend and of a resume: done at the next start', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host });
  await startCounter(host, server.id);
  let before = await count(host, server.id);
  for (const point of ['container.suspend.dumped', 'container.resume.restore', ...freezeFaultPoints]) {
    const action = point.includes('suspend') ? 'suspend' : 'resume';
    await scene.freshen(host);
    const { status: now } = await scene.show(server.id);
    if (action === 'suspend' && now === 'SUSPENDED') await resume(scene, server);
    if (action === 'resume' && now === 'ACTIVE') await suspend(scene, server);
    if (action === 'suspend') before = await count(host, server.id);
    await scene.fault(host, `kill:${point}`);
    await scene.act(server.id, { [action]: null });
    await died(host);
    await scene.clean(host);
    await scene.reach(server.id, action === 'suspend' ? 'SUSPENDED' : 'ACTIVE');
    if (action === 'resume') await countsOn(host, server.id, before);
    else t.deepEqual(await notRunning(server, scene), [], point);
  }
  t.deepEqual(await scene.silent(server), []);
});

test.serial('what cannot be frozen: the server goes on, and action and verdict say why', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host });
  await startCounter(host, server.id);
  const { pid } = (await container(host, server.id))!;
  await guest(host, server.id, 'setsid unshare -i sleep 5000 </dev/null >/dev/null 2>&1 &');
  const verdict = await until('the verdict changes', 10, async () => {
    const answer = JSON.parse(await mustRun(host, ['curl', '-sf', `http://127.0.0.1:8790/containers/${server.id}/verdict`])) as { freezable: boolean; findings: { code: string; text: string }[] };
    return answer.freezable ? undefined : answer;
  });
  t.deepEqual(verdict.findings.map(({ code }) => code), ['nested-namespaces']);
  const before = await count(host, server.id);
  await scene.act(server.id, { suspend: null });
  const action = await until('the action ends', 30, async () => {
    const seen = await scene.action(server.id, 'suspend');
    return seen.message === 'Error' ? seen : undefined;
  });
  t.like(action.events[0], { event: 'compute_suspend_instance', result: 'Error' });
  t.regex(String((action.events[0] as { details?: string }).details), /Failed to suspend instance: .*(IPC|ipc)/);
  t.like(await scene.reach(server.id, 'ACTIVE'), { 'OS-EXT-STS:vm_state': 'active', 'OS-EXT-STS:power_state': 1 });
  t.is((await container(host, server.id))?.pid, pid);
  await countsOn(host, server.id, before);
  t.deepEqual(await scene.silent(server), []);
  // the cause gone, it works
  await guest(host, server.id, 'kill $(pidof sleep)');
  await until('the verdict changes back', 10, async () => (JSON.parse(await mustRun(host, ['curl', '-sf', `http://127.0.0.1:8790/containers/${server.id}/verdict`])) as { freezable: boolean }).freezable);
  await suspend(scene, server);
  await resume(scene, server);
  await countsOn(host, server.id, before);
});

test.serial('what Nova allows on a suspended server, and two wishes at once', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host });
  await startCounter(host, server.id);
  await suspend(scene, server);
  for (const body of [{ suspend: null }, { 'os-stop': null }, { 'os-start': null }, { pause: null }, { unpause: null }, { reboot: { type: 'SOFT' } }]) {
    const answer = await scene.admin.raw('nova', 'POST', `/v2.1/servers/${server.id}/action`, body);
    t.is(answer.status, 409, `${Object.keys(body)[0]}: ${answer.text}`);
  }
  t.is((await scene.show(server.id)).status, 'SUSPENDED');
  // a hard reboot starts it without its memory
  await scene.act(server.id, { reboot: { type: 'HARD' } });
  await scene.reach(server.id, 'ACTIVE');
  t.is(await count(host, server.id), 0);
  t.is(await mustRun(host, ['sh', '-c', `ls -d /var/lib/nova/instances/${server.id}/checkpoint 2>/dev/null; true`]), '');
  t.deepEqual(await scene.silent(server), []);
  // Nova admits one of them; whichever it is, the server ends in a state that is true
  const race = async (bodies: readonly Record<string, unknown>[]): Promise<number[]> => (await Promise.all(bodies.map((body) => scene.admin.raw('nova', 'POST', `/v2.1/servers/${server.id}/action`, body)))).map(({ status }) => status);
  const statuses = await race([{ suspend: null }, { suspend: null }, { reboot: { type: 'HARD' } }, { 'os-stop': null }]);
  t.true(statuses.some((status) => status === 202), statuses.join(' '));
  const settled = await until('it has settled', 60, async () => {
    const seen = await scene.show(server.id);
    return seen['OS-EXT-STS:task_state'] === null ? seen : undefined;
  }, () => scene.show(server.id));
  const expected = { SUSPENDED: undefined, SHUTOFF: undefined, ACTIVE: 'running' } as Record<string, string | undefined>;
  t.true(settled.status in expected, settled.status);
  t.is((await container(host, server.id))?.status, expected[settled.status], settled.status);
  if (settled.status !== 'ACTIVE') await scene.act(server.id, settled.status === 'SUSPENDED' ? { resume: null } : { 'os-start': null });
  await scene.reach(server.id, 'ACTIVE');
  // deleted while it is being suspended
  await scene.act(server.id, { suspend: null });
  await scene.delete(server.id);
  await scene.nothingLeft(server.id);
});

test.serial('an image of a suspended server boots, and the server resumes as if nothing had been', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host });
  await startCounter(host, server.id);
  await guest(host, server.id, 'echo kept >/root/mark; sync');
  const before = await count(host, server.id);
  await suspend(scene, server);
  const image = await snapshot(scene, server, `ct-frozen-${server.id.slice(0, 6)}`);
  t.like(await scene.show(server.id), { status: 'SUSPENDED', 'OS-EXT-STS:power_state': 7 });
  t.deepEqual(await notRunning(server, scene), []);
  const copy = await scene.active({ host: 'host1', image: image.id });
  t.is((await guest('host1', copy.id, 'cat /root/mark')).trim(), 'kept');
  await resume(scene, server);
  await countsOn(host, server.id, before);
  t.deepEqual(await scene.silent(server), []);
});
