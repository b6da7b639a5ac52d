/** Templates and crash dumps through Nova's API. */
import { readFile } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { count, countsOn, startCounter } from './lib/counter.js';
import { guest } from './lib/host.js';
import { ask, over, runsAt } from './lib/live.js';
import { mustRun } from './lib/machine.js';
import { Scene } from './lib/scene.js';
import { forget, hostOf, snapshot, type Image } from './lib/snapshots.js';

const call = promisify(execFile);

/** A template in glance, of these files; an empty content makes a whiteout's mark. */
async function template(scene: Scene, name: string, files: Readonly<Record<string, string>>, properties: Readonly<Record<string, string>> = {}): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'template-'));
  try {
    for (const [path, content] of Object.entries(files)) {
      await mkdir(join(folder, path, '..'), { recursive: true });
      await writeFile(join(folder, path), content);
    }
    const file = `${folder}.tar`;
    await call('tar', ['-C', folder, '--owner=0', '--group=0', '-cf', file, '.']);
    forget(scene, name);
    const image = await scene.admin.call<Image>('glance', 'POST', '/v2/images', { name, disk_format: 'raw', container_format: 'bare', 'haulier:template': 'true', ...properties });
    await scene.admin.call('glance', 'PUT', `/v2/images/${image.id}/file`, await readFile(file));
    await rm(file);
    return image.id;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

test.serial('templates of a server lie over its image, in a snapshot they are its own files', async (t) => {
  const scene = await Scene.begin(t);
  const first = `tpl-first-${Date.now()}`;
  const second = `tpl-second-${Date.now()}`;
  await template(scene, first, { 'opt/app/one': 'one', 'etc/.wh.profile': '' }, { 'haulier:template_base': scene.ground.image });
  const id = await template(scene, second, { 'opt/app/two': 'two', 'opt/app/one': 'other' });
  const server = await scene.active({ extra: { metadata: { 'haulier:templates': `${first},${id}` } } });
  const host = hostOf(server);
  const look = 'cat /opt/app/one /opt/app/two; ls /etc/profile 2>/dev/null || echo gone';
  t.is((await guest(host, server.id, look)).trim(), 'othertwogone');
  t.is((await mustRun(host, ['sh', '-c', `find /var/lib/nova/instances/${server.id}/layer/upper/opt 2>/dev/null || echo none`])).trim(), 'none', 'no space of the server');
  await scene.act(server.id, { 'os-stop': null });
  await scene.reach(server.id, 'SHUTOFF');
  await scene.act(server.id, { 'os-start': null });
  await scene.reach(server.id, 'ACTIVE');
  t.is((await guest(host, server.id, look)).trim(), 'othertwogone');
  const image = await snapshot(scene, server, `tpl-snap-${server.id}`);
  t.is(image['haulier:templates'], '');
  t.is(String(image['haulier:template_contents']).split(',').length, 2);
  const copy = await scene.active({ image: image.id });
  t.is((await guest(hostOf(copy), copy.id, look)).trim(), 'othertwogone');
});

test.serial('a server with templates moves to a host that has none of them, running and stopped', async (t) => {
  const scene = await Scene.begin(t);
  const names = [`tpl-live-${Date.now()}`, `tpl-cold-${Date.now()}`] as const;
  await template(scene, names[0], { 'opt/app/one': 'one', 'etc/.wh.profile': '' });
  const look = 'cat /opt/app/*; ls /etc/profile 2>/dev/null || echo gone';
  const server = await scene.active({ host: 'host1', extra: { metadata: { 'haulier:templates': names[0] } } });
  await startCounter('host1', server.id);
  const before = await count('host1', server.id);
  await ask(scene, server.id, 'host2');
  t.is((await over(scene, server.id)).migration.status, 'completed');
  await runsAt(t, scene, server.id, 'host2');
  await countsOn('host2', server.id, before);
  t.is((await guest('host2', server.id, look)).trim(), 'onegone');

  await template(scene, names[1], { 'opt/app/two': 'two', 'etc/.wh.profile': '' });
  const cold = await scene.active({ host: 'host1', extra: { metadata: { 'haulier:templates': names[1] } } });
  await scene.act(cold.id, { migrate: { host: 'host2' } });
  await scene.reach(cold.id, 'VERIFY_RESIZE');
  t.is((await guest('host2', cold.id, look)).trim(), 'twogone');
  await scene.act(cold.id, { revertResize: null });
  await scene.reach(cold.id, 'ACTIVE');
  t.is((await guest('host1', cold.id, look)).trim(), 'twogone');
});

test.serial('a crash dump changes nothing of the server', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host1' });
  const before = await scene.container(server);
  await scene.act(server.id, { trigger_crash_dump: null });
  const action = await scene.finished(server.id, 'trigger_crash_dump');
  t.deepEqual(action.events.map((event) => [event.event, event.result]), [['compute_trigger_crash_dump', 'Success']]);
  t.is((await scene.show(server.id)).status, 'ACTIVE');
  t.like(await scene.container(server), { pid: before!.pid, status: 'running' });
  t.regex(await mustRun('host1', ['sh', '-c', `ls /var/lib/nova/crash-dumps/${server.id}/*/`]), /core\.1\.\S+[\s\S]*dump\.json/);
  t.deepEqual(await scene.silent(server), []);
});
