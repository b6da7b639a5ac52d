/** A whole host frozen and thawed by its operator, and what comes back after a reboot of the host. */
import test from 'ava';
import { count, countsOn, startCounter } from './lib/counter.js';
import { configure, container, guest, startHaulier, stopHaulier } from './lib/host.js';
import { cloud, inside, mustRun, until } from './lib/machine.js';
import { Scene } from './lib/scene.js';
import type { Server } from './lib/types.js';

const host = 'host2';

/** The command on the host, as its operator would type it. */
async function haulier(...args: string[]): Promise<{ readonly code: number; readonly text: string }> {
  const { code, stdout, stderr } = await inside(host, ['node', '/opt/haulier/dist/src/main.js', ...args, '--config-file', '/etc/nova/nova.conf'], { timeoutMs: 120_000 });
  return { code, text: stdout + stderr };
}

/** The verdict over HTTP: status and body. */
async function verdict(id: string): Promise<{ readonly status: number; readonly body: string }> {
  const text = await mustRun(host, ['curl', '-s', '-w', '\n%{http_code}', `http://127.0.0.1:8790/containers/${id}/verdict`]);
  const cut = text.lastIndexOf('\n');
  return { status: Number(text.slice(cut + 1)), body: text.slice(0, cut) };
}

async function counting(scene: Scene): Promise<Server> {
  const server = await scene.active({ host });
  await startCounter(host, server.id);
  return server;
}

test.serial('can-freeze and the verdict: yes, no, not running, unknown, nonsense', async (t) => {
  const scene = await Scene.begin(t);
  const [good, bad, suspended] = await Promise.all([counting(scene), counting(scene), counting(scene)]);
  await guest(host, bad.id, 'setsid unshare -i sleep 5000 </dev/null >/dev/null 2>&1 &');
  await scene.act(suspended.id, { suspend: null });
  await scene.reach(suspended.id, 'SUSPENDED');
  const unknown = '00000000-0000-4000-8000-000000000000';

  t.deepEqual(await haulier('can-freeze', good.id), { code: 0, text: 'yes\n' });
  const no = await until('the verdict is no', 10, async () => { const said = await haulier('can-freeze', bad.id); return said.code === 1 ? said : undefined; });
  t.regex(no.text, /^no\n- .*\(sleep\) has an IPC namespace of its own.* \[nested-namespaces\]\n$/);
  t.deepEqual(await haulier('can-freeze', suspended.id), { code: 2, text: `${suspended.id} is suspended already: there is nothing to judge\n` });
  t.deepEqual(await haulier('can-freeze', unknown), { code: 2, text: `there is no container ${unknown} on this host\n` });
  for (const args of [['can-freeze'], ['can-freeze', good.id, bad.id], ['host'], ['host', 'melt'], ['host', 'freeze', 'now']]) {
    const said = await haulier(...args);
    t.is(said.code, 2, args.join(' '));
    t.regex(said.text, /^haulier: .*takes one.*\nusage: /);
  }
  const odd = await haulier('can-freeze', '../../etc');
  t.not(odd.code, 0);
  t.notRegex(odd.text, /\n {4}at /, 'words, not a stack');

  t.deepEqual(await verdict(good.id), { status: 200, body: '{"freezable":true,"findings":[]}' });
  t.like(JSON.parse((await verdict(bad.id)).body) as object, { freezable: false });
  t.is((await verdict(suspended.id)).status, 409);
  t.is((await verdict(unknown)).status, 404);
  const metrics = await mustRun(host, ['curl', '-sf', 'http://127.0.0.1:8790/metrics']);
  t.regex(metrics, /^haulier_containers\{state="suspended"\} 1$/m);
  t.regex(metrics, /^haulier_freeze_seconds_count\{operation="suspend",result="done"\} [1-9]/m);
  t.regex(metrics, /^haulier_criu_fit 1$/m);
  const { resource_providers: [provider] } = await scene.admin.call<{ resource_providers: { uuid: string }[] }>('placement', 'GET', `/resource_providers?name=${host}`);
  const { traits } = await scene.admin.call<{ traits: string[] }>('placement', 'GET', `/resource_providers/${provider!.uuid}/traits`);
  t.true(traits.includes('CUSTOM_HAULIER_FREEZE'));
  t.is(traits.includes('CUSTOM_HAULIER_DIRTY_TRACKING'), /^haulier_criu_feature\{feature="mem_dirty_track"\} 1$/m.test(metrics));
});

test.serial('the host is frozen and thawed: processes go on; what cannot be frozen runs on; the service keeps the command out', async (t) => {
  const scene = await Scene.begin(t);
  const [good, bad, suspended, paused, rescued] = await Promise.all([counting(scene), counting(scene), counting(scene), counting(scene), counting(scene)]);
  await guest(host, bad.id, 'setsid unshare -i sleep 5000 </dev/null >/dev/null 2>&1 &');
  await scene.act(suspended.id, { suspend: null });
  await scene.act(rescued.id, { rescue: {} });
  await scene.act(paused.id, { pause: null });
  await scene.reach(suspended.id, 'SUSPENDED');
  await scene.reach(paused.id, 'PAUSED');
  await scene.reach(rescued.id, 'RESCUE');
  await startCounter(host, rescued.id); // in the rescue system

  for (const what of ['freeze', 'thaw']) {
    const refused = await haulier('host', what);
    t.is(refused.code, 1);
    t.regex(refused.text, /Another haulier process works with the containers of \/run\/haulier\n.*stop the service/);
  }
  const pids = { bad: (await container(host, bad.id))?.pid, paused: (await container(host, paused.id))?.pid };
  const before = await count(host, good.id);
  await stopHaulier(host);
  const frozen = await haulier('host', 'freeze');
  t.is(frozen.code, 1, frozen.text);
  t.regex(frozen.text, new RegExp(`^ok     ${good.id} .*: frozen \\(\\d+ ms\\)$`, 'm'));
  t.regex(frozen.text, new RegExp(`^ok     ${rescued.id} .*: frozen \\(\\d+ ms\\)$`, 'm'));
  t.regex(frozen.text, new RegExp(`^FAILED ${bad.id} .*Failed to suspend instance: .*ipc`, 'mi'));
  t.regex(frozen.text, new RegExp(`^FAILED ${paused.id} .*it is paused`, 'm'));
  t.regex(frozen.text, /^2 frozen, 2 not; they come back with/m);
  t.false(frozen.text.includes(suspended.id), 'a server that its user suspended is not touched');
  t.is(await container(host, good.id), undefined);
  t.deepEqual({ bad: (await container(host, bad.id))?.pid, paused: (await container(host, paused.id))?.pid }, pids);
  const thawed = await haulier('host', 'thaw');
  t.is(thawed.code, 0, thawed.text);
  for (const { id } of [good, rescued]) t.regex(thawed.text, new RegExp(`^ok     ${id} .*: thawed \\(\\d+ ms\\)$`, 'm'));
  t.regex(thawed.text, /^2 thawed, 0 not$/m);
  await countsOn(host, good.id, before);
  t.regex((await haulier('host', 'thaw')).text, /^there is nothing to thaw/m);

  // frozen again, and this time the service brings it back
  const counted = await count(host, rescued.id);
  t.is((await haulier('host', 'freeze')).code, 1);
  await startHaulier(host);
  await countsOn(host, good.id, before);
  t.is((await scene.reach(good.id, 'ACTIVE'))['OS-EXT-STS:power_state'], 1);
  await countsOn(host, rescued.id, counted);
  t.is((await scene.reach(rescued.id, 'RESCUE'))['OS-EXT-STS:power_state'], 1);
  await scene.act(rescued.id, { unrescue: null });
  await scene.reach(rescued.id, 'ACTIVE');
  t.is((await scene.show(bad.id)).status, 'ACTIVE');
  t.is((await scene.show(paused.id)).status, 'PAUSED');
  t.is((await scene.show(suspended.id)).status, 'SUSPENDED');
  t.deepEqual(await scene.silent(good), []);
  await scene.act(suspended.id, { resume: null });
  await scene.reach(suspended.id, 'ACTIVE');
  await countsOn(host, suspended.id, 1);
});

/** The host goes down without a warning, with everything that it keeps in memory, and comes up again without the service. */
async function reboot(): Promise<void> {
  await cloud(['host', 'down', host]);
  await cloud(['up']);
}

test.serial('after a reboot of the host: what ran is started, what was suspended is resumed, what was frozen goes on', async (t) => {
  const scene = await Scene.begin(t);
  const [ran, stopped, suspended] = await Promise.all([counting(scene), counting(scene), counting(scene)]);
  await scene.act(stopped.id, { 'os-stop': null });
  await scene.act(suspended.id, { suspend: null });
  await scene.reach(stopped.id, 'SHUTOFF');
  await scene.reach(suspended.id, 'SUSPENDED');
  await reboot();
  t.not((await inside(host, ['ls', '/run/haulier'])).code, 0, 'what it kept in memory is lost');
  const restore = await configure(host, '[DEFAULT]\nresume_guests_state_on_host_boot = true');
  scene.after(async () => {
    await stopHaulier(host);
    await restore();
    await startHaulier(host);
  });
  await scene.clean(host);
  t.is((await scene.reach(ran.id, 'ACTIVE'))['OS-EXT-STS:power_state'], 1);
  t.is(await count(host, ran.id), 0, 'started anew');
  t.is((await scene.show(stopped.id)).status, 'SHUTOFF');
  t.is(await container(host, stopped.id), undefined);
  t.like(await scene.show(suspended.id), { status: 'SUSPENDED', 'OS-EXT-STS:power_state': 7 });
  t.deepEqual(await scene.silent(ran, 20), []);
  await scene.act(suspended.id, { resume: null });
  await scene.reach(suspended.id, 'ACTIVE');
  await countsOn(host, suspended.id, 1);
  t.deepEqual(await scene.silent(suspended, 20), []);

  // a reboot that was prepared: no process is lost
  const before = await count(host, suspended.id);
  await stopHaulier(host);
  t.is((await haulier('host', 'freeze')).code, 0);
  await reboot();
  await scene.clean(host);
  t.is((await scene.reach(suspended.id, 'ACTIVE'))['OS-EXT-STS:power_state'], 1);
  await countsOn(host, suspended.id, before);
  t.deepEqual(await scene.silent(suspended, 20), []);
});
