import test from 'ava';
import { maxTemplates, snapshotTemplateProperties } from '../../../src/compute/templates.js';
import { NovaObject, type Primitive } from '../../../src/nova/object.js';
import type { GlanceImage } from '../../../src/openstack/types.js';
import { leftovers, uuid, world, type World } from './world.js';

const ids = { php: '11111111-0000-4000-8000-000000000001', sql: '11111111-0000-4000-8000-000000000002', tree: '11111111-0000-4000-8000-000000000003' };

function image(id: string, name: string, properties: Record<string, string> = { 'haulier:template': 'true' }, status = 'active'): GlanceImage {
  return { id, name, status, size: 10, min_disk: 0, min_ram: 0, disk_format: 'raw', container_format: 'bare', checksum: null, os_hash_algo: null, os_hash_value: null, properties };
}

interface Asked { readonly image?: Record<string, unknown>; readonly flavor?: Record<string, string>; readonly server?: Record<string, string> }

/** A boot whose image, flavor and server ask for templates. */
async function booted(asked: Asked, records: readonly GlanceImage[] = [image(ids.php, 'php'), image(ids.sql, 'sql'), image(ids.tree, 'tree', {})]): Promise<World> {
  const w = await world();
  w.glance.records.push(...records);
  const args = w.bootArgs();
  Object.assign(args['image'] as object, { properties: { ...asked.image } });
  const instance = (args['instance'] as Primitive)['nova_object.data'] as Record<string, unknown>;
  instance['metadata'] = { ...asked.server };
  ((instance['flavor'] as Primitive)['nova_object.data'] as Record<string, unknown>)['extra_specs'] = { ...asked.flavor };
  w.plugWhenAsked();
  await w.send('build_and_run_instance', args);
  return w;
}

const attached = (w: World): readonly string[] | undefined => w.containers.made.get(uuid)?.spec.templates;
const wanted = 'haulier:templates';

test('server before flavor before image; names and ids, in order, each once', async (t) => {
  t.deepEqual(attached(await booted({ image: { [wanted]: 'php' } })), [ids.php]);
  t.deepEqual(attached(await booted({ image: { [wanted]: 'php' }, flavor: { [wanted]: ` sql , ${ids.php},sql` } })), [ids.sql, ids.php]);
  const w = await booted({ image: { [wanted]: 'php' }, flavor: { [wanted]: 'sql' }, server: { [wanted]: ids.php } });
  t.deepEqual(attached(w), [ids.php]);
  t.true(w.containers.cached.has(ids.php));
  t.is(attached(await booted({ image: { [wanted]: 'php' }, server: { [wanted]: '' } })), undefined);
  t.is(attached(await booted({})), undefined);
});

const own = 'base-image';
const refused: readonly (readonly [string, Asked, readonly GlanceImage[] | undefined, RegExp])[] = [
  ['no such image', { server: { [wanted]: 'perl' } }, undefined, /Template perl cannot be attached: there is no such image/],
  ['no such id', { server: { [wanted]: '11111111-0000-4000-8000-00000000000f' } }, undefined, /there is no such image/],
  ['no template', { server: { [wanted]: 'tree' } }, undefined, /the image is no template/],
  ['two of a name', { server: { [wanted]: 'php' } }, [image(ids.php, 'php'), image(ids.sql, 'php')], /there are 2 templates of this name/],
  ['an inactive one', { server: { [wanted]: ids.php } }, [image(ids.php, 'php', { 'haulier:template': 'true' }, 'queued')], /it is queued, not active/],
  ['too many', { server: { [wanted]: Array.from({ length: maxTemplates + 1 }, (_, index) => `t${index}`).join(',') } }, undefined, /at most 16, and 17 are named/],
  ['another base', { server: { [wanted]: 'php' } }, [image(ids.php, 'php', { 'haulier:template': 'true', 'haulier:template_base': own })], /it was made over image base-image, and this server is made from image [0-9a-f-]{36}/],
];
for (const [what, asked, records, message] of refused) {
  test(`refused: ${what}; the build is given up with a fault, on this host and all others`, async (t) => {
    const w = await booted(asked, records);
    t.is(w.nova.row(uuid)['vm_state'], 'error');
    t.is(w.nova.row(uuid)['task_state'], null);
    t.is(w.nova.faults.length, 1);
    t.regex(JSON.stringify(w.nova.faults[0]), message);
    t.deepEqual(leftovers(w), []);
  });
}

test('the right base, also under a snapshot; what a snapshot holds is not attached again', async (t) => {
  const made = [image(ids.php, 'php', { 'haulier:template': 'true', 'haulier:template_base': own }), image(ids.sql, 'sql')];
  t.deepEqual(attached(await booted({ image: { base_image_ref: own }, flavor: { [wanted]: 'php,sql' } }, made)), [ids.php, ids.sql]);
  t.deepEqual(attached(await booted({ image: { base_image_ref: own, 'haulier:template_contents': ids.php }, flavor: { [wanted]: 'php,sql' } }, made)), [ids.sql]);
});

test('a template alone is no system', async (t) => {
  const w = await booted({ image: { 'haulier:template': 'true' } });
  t.is(w.nova.row(uuid)['vm_state'], 'error');
  t.regex(JSON.stringify(w.nova.faults[0]), /it is a template, a layer for other images/);
});

test('what a snapshot says of its templates', (t) => {
  const instance = (metadata: Record<string, string>): NovaObject => {
    const made = new NovaObject('Instance', '2.8');
    made.load('system_metadata', metadata);
    return made;
  };
  t.deepEqual(snapshotTemplateProperties(instance({}), []), {});
  t.deepEqual(snapshotTemplateProperties(instance({}), ['a', 'b']), { [wanted]: '', 'haulier:template_contents': 'a,b' });
  t.deepEqual(snapshotTemplateProperties(instance({ 'image_haulier:templates': 'x' }), []), { [wanted]: '' });
  t.deepEqual(snapshotTemplateProperties(instance({ 'image_haulier:template_contents': 'a' }), ['a', 'c']), { [wanted]: '', 'haulier:template_contents': 'a,c' });
});
