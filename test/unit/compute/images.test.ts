/** What the compute room makes of images: the application in their properties, and for how long unused ones stay. */
import test from 'ava';
import { ageImages, applicationProperties, applicationProperty, imageSource } from '../../../src/compute/image-source.js';
import { world } from './world.js';

const application = { args: ['/bin/serve'], env: ['A=1'], user: 'web', cwd: '/', stopSignal: 'SIGQUIT' };
const image = (properties: Record<string, unknown>): Record<string, unknown> => ({ id: 'i', status: 'active', size: 1, disk_format: 'raw', container_format: 'bare', properties });

test('a snapshot of an application says so, and is one', async (t) => {
  const w = await world();
  const context = {} as never;
  t.deepEqual(imageSource(w.compute, context, image(applicationProperties(application)), 0).application, application);
  t.is(imageSource(w.compute, context, image(applicationProperties(undefined)), 0).application, undefined);
  t.is(imageSource(w.compute, context, image({ [applicationProperty]: '' }), 0).application, undefined);
  for (const [said, words] of [['{', /is no JSON/], ['{"args":[]}', /names no program/], ['7', /is no object/]] as const) {
    t.throws(() => imageSource(w.compute, context, image({ [applicationProperty]: said }), 0), { message: new RegExp(`haulier:application ${words.source}`) });
  }
});

test('unused images stay for as long as configured, and never for less than a build may need', async (t) => {
  const w = await world();
  const asked: number[] = [];
  w.containers.removeUnusedImages = async (idleMs) => {
    asked.push(idleMs);
    return [];
  };
  await ageImages(w.compute);
  await ageImages(Object.assign(Object.create(w.compute) as typeof w.compute, { settings: { ...w.compute.settings, removeUnusedImagesSeconds: 0 } }));
  t.deepEqual(asked, [86_400_000, 300_000]);
});
