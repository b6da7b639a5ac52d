/**
 * Application templates (docs/templates.md): `haulier:templates` of a server's metadata, else of its flavor, else of its image names
 * images whose layers lie over the server's own, in that order.
 */
import type { Compute, InstanceCall } from './compute.js';
import { imageSource, isTemplate, templateProperty } from './image-source.js';
import { withAttribute } from './instance-state.js';
import { userScope } from './scope.js';
import { HaulierError, isHaulierError } from '../base/errors.js';
import type { Operation } from '../base/operation.js';
import type { ImageSource } from '../container/spec.js';
import type { WireContext } from '../messaging/types.js';
import type { NovaObject } from '../nova/object.js';
import type { GlanceImage, RequestScope } from '../openstack/types.js';

/** The names that images, flavors and servers use. */
const templateProperties = {
  /** On an image, a flavor, a server: names or ids, separated by commas; empty: none. */
  wanted: 'haulier:templates',
  /** On a template's image: id of the image over which it was made. */
  base: 'haulier:template_base',
  /** On a snapshot: ids of the templates that its tree holds already. */
  contained: 'haulier:template_contents',
} as const;

/** Most templates of one server. */
export const maxTemplates = 16;

type Fields = Readonly<Record<string, unknown>>;
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const split = (text: string): string[] => text.split(',').map((name) => name.trim()).filter(Boolean);
const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

/**
 * The names that a server asks for. The most special one speaks alone: the server's own metadata before the flavor before the image.
 * @param image Nova's or Glance's record
 */
export function wantedTemplates(instance: NovaObject, image: Fields): string[] {
  const places = [instance.strings('metadata'), instance.object('flavor')?.strings('extra_specs') ?? {}, propertiesOf(image)];
  const place = places.find((fields) => typeof fields[templateProperties.wanted] === 'string');
  return [...new Set(split(textOf(place?.[templateProperties.wanted])))];
}

function propertiesOf(image: Fields): Fields {
  return typeof image['properties'] === 'object' && image['properties'] !== null ? (image['properties'] as Fields) : {};
}

/**
 * The layers to lie over a server's image, the lowest first; without those that the image, a snapshot, holds already.
 * @throws TEMPLATE_UNACCEPTABLE, and what Glance throws
 */
async function templateSources(compute: Compute, context: WireContext, instance: NovaObject, image: Fields, signal: AbortSignal): Promise<ImageSource[]> {
  const names = wantedTemplates(instance, image);
  if (names.length === 0) return [];
  if (names.length > maxTemplates) throw new HaulierError('TEMPLATE_UNACCEPTABLE', { template: names[maxTemplates], reason: `a server takes at most ${maxTemplates}, and ${names.length} are named` });
  const scope = userScope(context, signal);
  const properties = propertiesOf(image);
  const contained = new Set(split(textOf(properties[templateProperties.contained])));
  const bases = [textOf(image['id']), textOf(properties['base_image_ref'])];
  const sources = new Map<string, ImageSource>();
  for (const name of names) {
    const template = await find(compute, scope, name);
    if (contained.has(template.id)) continue;
    const base = textOf(template.properties[templateProperties.base]);
    if (base !== '' && !bases.includes(base)) throw new HaulierError('TEMPLATE_UNACCEPTABLE', { template: name, reason: `it was made over image ${base}, and this server is made from image ${bases[0]}` });
    sources.set(template.id, imageSource(compute, context, { ...template }, 0));
  }
  return [...sources.values()];
}

/** A template by id or name. */
async function find(compute: Compute, scope: RequestScope, name: string): Promise<GlanceImage> {
  const refuse = (reason: string): HaulierError => new HaulierError('TEMPLATE_UNACCEPTABLE', { template: name, reason });
  const byId = async (): Promise<GlanceImage[]> => await compute.glance.image(scope, name).then((image) => [image], (error: unknown) => {
    if (isHaulierError(error, 'IMAGE_NOT_FOUND')) return [];
    throw error;
  });
  const found = uuid.test(name) ? await byId() : (await compute.glance.images(scope, { name })).filter((image) => image.status === 'active');
  if (found.length === 0) throw refuse('there is no such image');
  const templates = found.filter((image) => isTemplate(image.properties));
  if (templates.length > 1) throw refuse(`there are ${templates.length} templates of this name: give its id`);
  const [template] = templates;
  if (!template) throw refuse(`the image is no template: it lacks the property ${templateProperty}=true`);
  if (template.status !== 'active') throw refuse(`it is ${template.status}, not active`);
  return template;
}

/**
 * The server's image and its templates, into the cache.
 * @param image Nova's or Glance's record of what `source` is
 * @returns ids of the templates, the lowest first
 * @throws TEMPLATE_UNACCEPTABLE, IMAGE_UNACCEPTABLE, DISK_FULL, and what Glance throws
 */
export async function ensureImages(compute: Compute, about: { readonly context: WireContext; readonly instance: NovaObject }, image: Fields, source: ImageSource, operation: Operation): Promise<string[]> {
  if (source.layer) throw new HaulierError('IMAGE_UNACCEPTABLE', { image: source.id, reason: 'it is a template, a layer for other images, and no whole system' });
  const templates = await templateSources(compute, about.context, about.instance, image, operation.signal);
  for (const one of [source, ...templates]) await compute.containers.ensureImage(one, operation);
  return templates.map(({ id }) => id);
}

/** An image of Glance without templates over it, into the cache. @returns its id @throws as `fetchImages` */
export async function fetchImage(compute: Compute, { context, instance, operation }: InstanceCall, id: string): Promise<string> {
  operation.step('image');
  const image = { ...(await compute.glance.image(userScope(context, operation.signal), id)) };
  const source = imageSource(compute, context, image, instance.object('flavor')?.number('root_gb') ?? 0);
  if (source.layer) throw new HaulierError('IMAGE_UNACCEPTABLE', { image: id, reason: 'it is a template, a layer for other images, and no whole system' });
  await compute.containers.ensureImage(source, operation);
  return source.id;
}

/** An image of Glance as a server's new one, with its templates: both are in the cache afterwards. @returns their ids @throws as `imageSource` and `ensureImages` */
export async function fetchImages(compute: Compute, call: InstanceCall, id: string): Promise<{ readonly image: string; readonly templates: readonly string[] }> {
  const { context, instance, operation } = call;
  operation.step('image');
  const image = { ...(await compute.glance.image(userScope(context, operation.signal), id)) };
  const source = imageSource(compute, context, image, instance.object('flavor')?.number('root_gb') ?? 0);
  await withAttribute(compute, call, 'metadata');
  return { image: source.id, templates: await ensureImages(compute, call, image, source, operation) };
}

/** What a snapshot's image says of the templates in its tree: it holds them, so a server made from it gets them no second time. */
export function snapshotTemplateProperties(instance: NovaObject, templates: readonly string[]): Record<string, string> {
  const inherited = instance.strings('system_metadata');
  const contained = [...new Set([...split(textOf(inherited[`image_${templateProperties.contained}`])), ...templates])];
  return {
    ...(templates.length > 0 || inherited[`image_${templateProperties.wanted}`] !== undefined ? { [templateProperties.wanted]: '' } : {}),
    ...(contained.length > 0 ? { [templateProperties.contained]: contained.join(',') } : {}),
  };
}
