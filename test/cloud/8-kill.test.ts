/** kill -9 of the service at every named step: after its restart the state converges, nothing leaks, no other container is touched. */
import test from 'ava';
import { bootFaultPoints } from '../../src/compute/boot/build.js';
import { deleteFaultPoints } from '../../src/compute/methods/terminate.js';
import { powerFaultPoints } from '../../src/compute/methods/power.js';
import { imageFaultPoints } from '../../src/container/image/image-store.js';
import { containerFaultPoints } from '../../src/container/steps.js';
import { rootFsFaultPoints } from '../../src/container/storage/root-fs.js';
import { demoImage, upload } from './lib/images.js';
import { container, died, haulierPid, startHaulier } from './lib/host.js';
import { haulierLog, until } from './lib/machine.js';
import { Scene } from './lib/scene.js';

const steps = (prefix: string): string[] => containerFaultPoints.filter((point) => point.startsWith(`container.${prefix}.`));

const power = (prefix: string): string[] => powerFaultPoints.filter((point) => point.startsWith(`${prefix}.`));

test.serial('at every step of a boot', async (t) => {
  const scene = await Scene.begin(t);
  const bystander = await scene.active({ host: 'host2' });
  const untouched = (await container('host2', bystander.id))!.pid;
  const image = await demoImage(scene);
  const points = [...imageFaultPoints.filter((point) => point !== 'image.memory'), ...steps('create'), ...steps('start'), ...rootFsFaultPoints, ...bootFaultPoints];
  const killed = new Map<string, string>();
  for (const point of points) {
    await scene.freshen('host2');
    const own = point.startsWith('image.') ? await upload(scene, image) : undefined;
    await scene.fault('host2', `kill:${point}`, false);
    // the message waits until the start is through, with the recovery of the previous server
    killed.set(point, await scene.boot({ host: 'host2', ...(own ? { image: own } : {}) }));
    await died('host2');
  }
  const last = killed.get('boot.saved')!;
  const saved = (await container('host2', last))?.pid;
  await scene.clean('host2');
  for (const [point, id] of killed) {
    const server = await until(`${point}: decided`, 20, async () => {
      const seen = await scene.show(id);
      return seen['OS-EXT-STS:task_state'] === null && seen.status !== 'BUILD' ? seen : undefined;
    }, async () => [await scene.show(id), haulierLog('host2').slice(-1500)]);
    if (point === 'boot.saved') {
      t.is(server.status, 'ACTIVE', point);
      t.is((await container('host2', id))?.pid, saved, 'an active server is not touched');
    } else {
      t.is(server.status, 'ERROR', point);
      t.regex(server.fault?.message ?? '', /ended in between/, point);
      t.deepEqual(await scene.leftovers([id]), [], point);
    }
  }
  t.is((await container('host2', bystander.id))?.pid, untouched);
  t.deepEqual(await scene.silent(bystander), []);
});

test.serial('at every step of a delete, one after the other on the same server', async (t) => {
  const scene = await Scene.begin(t);
  const [server, bystander] = await Promise.all([scene.active({ host: 'host2' }), scene.active({ host: 'host2' })]);
  const untouched = (await container('host2', bystander.id))!.pid;
  const [begun, ...rest] = deleteFaultPoints;
  const chain = [begun, ...steps('destroy'), ...rest];
  await scene.freshen('host2');
  await scene.fault('host2', `kill:${chain[0]}`);
  await scene.admin.remove('nova', `/v2.1/servers/${server.id}`);
  await died('host2');
  for (const point of chain.slice(1)) {
    await scene.fault('host2', `kill:${point}`, false); // the recovery comes as far as this
    await died('host2');
  }
  await scene.clean('host2');
  await scene.gone(server.id);
  await scene.nothingLeft(server.id);
  t.is((await container('host2', bystander.id))?.pid, untouched);
  t.deepEqual(await scene.silent(bystander), []);
});

test.serial('at every step of a stop, a start and a reboot, one after the other on the same server', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host2' });
  const walk = async (body: Record<string, unknown>, points: readonly string[], status: string): Promise<void> => {
    await scene.freshen('host2');
    await scene.fault('host2', `kill:${points[0]}`);
    await scene.act(server.id, body);
    await died('host2');
    for (const point of points.slice(1)) {
      await scene.fault('host2', `kill:${point}`, false);
      await until(`death at ${point}, or the end of the recovery`, 30, async () => !haulierPid('host2') || (await scene.show(server.id))['OS-EXT-STS:task_state'] === null);
      if (haulierPid('host2')) t.log(`${point} is not passed by the recovery`);
    }
    await scene.clean('host2');
    await scene.reach(server.id, status);
  };
  await walk({ 'os-stop': null }, [...steps('stop').filter((point) => !point.endsWith('.kill')), ...power('stop')], 'SHUTOFF');
  t.is(await container('host2', server.id), undefined);
  await walk({ 'os-start': null }, [...steps('start'), ...power('start')], 'ACTIVE');
  t.deepEqual(await scene.silent(server), []);
  await walk({ reboot: { type: 'SOFT' } }, power('reboot'), 'ACTIVE');
  t.deepEqual(await scene.silent(server), []);
  await startHaulier('host2');
  await scene.delete(server.id);
  await scene.nothingLeft();
});
