/**
 * Finds the one image in an unpacked archive: an OCI layout (image-spec, image-layout.md: `oci-layout`, `index.json`, `blobs/`), or what
 * `docker save` writes (`manifest.json`). Docker 25 and newer write both; the layout, which has a digest of every part, is taken then.
 */
import { unacceptable } from '../image-error.js';
import { machine, parseConfig, type ContainerImageConfig } from './config.js';
import { digestPattern, fieldsOf, splitDigest } from './fields.js';
import type { Parts } from './parts.js';

/** One layer. */
export interface LayerPart {
  /** In the archive. */
  readonly path: string;
  /** Of the file as it lies there; undefined where the archive does not say. */
  readonly digest: string | undefined;
  readonly size: number | undefined;
  /** sha256 of the uncompressed archive. */
  readonly diffId: string;
}

/** The image. */
export interface FoundImage {
  readonly kind: 'OCI layout' | 'docker save archive';
  readonly layers: readonly LayerPart[];
  readonly config: ContainerImageConfig;
}

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly platform: Readonly<Record<string, unknown>> | undefined;
}

const manifestTypes = new Set(['application/vnd.oci.image.manifest.v1+json', 'application/vnd.docker.distribution.manifest.v2+json']);
const indexTypes = new Set(['application/vnd.oci.image.index.v1+json', 'application/vnd.docker.distribution.manifest.list.v2+json']);
const layerType = /^application\/vnd\.(?:oci\.image\.layer\.v1\.tar(?:\+gzip|\+zstd)?|docker\.image\.rootfs\.diff\.tar(?:\.gzip|\.zstd)?)$/;
/** An index in an index in an index: none is deeper. */
const maxIndexes = 3;
const maxDescriptors = 1000;

const pathOf = (digest: string): string => `blobs/${splitDigest(digest).algorithm}/${splitDigest(digest).value}`;

/**
 * @param arch Node's name of this host's architecture
 * @throws IMAGE_UNACCEPTABLE
 */
export async function findImage(image: string, parts: Parts, arch: string): Promise<FoundImage> {
  if (await parts.has('oci-layout') && await parts.has('index.json')) return await new Layout(image, parts, arch).find();
  if (await parts.has('manifest.json')) return await dockerSave(image, parts, arch);
  throw unacceptable(image, 'Glance has it as container format docker, but its archive is neither an OCI layout (oci-layout, index.json) nor made by docker save (manifest.json)');
}

class Layout {
  constructor(private readonly image: string, private readonly parts: Parts, private readonly arch: string) {}

  async find(): Promise<FoundImage> {
    const version = fieldsOf(await this.parts.json('oci-layout'))?.['imageLayoutVersion'];
    if (typeof version !== 'string' || !/^1\./.test(version)) throw unacceptable(this.image, `its OCI layout is of version ${JSON.stringify(version)?.slice(0, 40)}; 1.x is known`);
    const found = await this.#manifests(await this.parts.json('index.json'), 1);
    const wanted = found.filter(({ platform }) => platform === undefined || (platform['os'] === 'linux' && platform['architecture'] === machine(this.arch)));
    const [first, ...others] = new Map(wanted.map((descriptor) => [descriptor.digest, descriptor])).values();
    if (!first) throw unacceptable(this.image, `its OCI layout has no image for linux on ${machine(this.arch)}${found.length > 0 ? `, but ${found.length} for others` : ''}`);
    if (others.length > 0) throw unacceptable(this.image, `its OCI layout holds ${others.length + 1} images for linux on ${machine(this.arch)}: which one?`);
    const manifest = fieldsOf(await this.#blob(first)) ?? {};
    const configPart = this.#descriptor(manifest['config'], 'configuration');
    const layers = this.#list(manifest['layers']).map((value) => this.#descriptor(value, 'layer'));
    const foreign = layers.find(({ mediaType }) => !layerType.test(mediaType));
    if (foreign) throw unacceptable(this.image, `it has a layer of the type ${foreign.mediaType.slice(0, 100)}, which is no tar archive in it`);
    const config = parseConfig(this.image, await this.#blob(configPart), this.arch);
    return { kind: 'OCI layout', config, layers: paired(this.image, config, layers.map(({ digest, size }) => ({ path: pathOf(digest), digest, size }))) };
  }

  /** The manifests that an index names, itself or through others. Those of no platform (signatures, attestations) are no images. */
  async #manifests(index: unknown, depth: number): Promise<Descriptor[]> {
    const found: Descriptor[] = [];
    for (const value of this.#list(fieldsOf(index)?.['manifests'])) {
      const descriptor = this.#descriptor(value, 'manifest');
      if (descriptor.platform?.['os'] === 'unknown') continue;
      if (manifestTypes.has(descriptor.mediaType)) found.push(descriptor);
      else if (indexTypes.has(descriptor.mediaType)) {
        if (depth >= maxIndexes) throw unacceptable(this.image, `its OCI layout has indexes more than ${maxIndexes} deep`);
        found.push(...await this.#manifests(await this.#blob(descriptor), depth + 1));
      }
      if (found.length > maxDescriptors) throw unacceptable(this.image, `its OCI layout holds more than ${maxDescriptors} images`);
    }
    return found;
  }

  #list(value: unknown): readonly unknown[] {
    if (!Array.isArray(value) || value.length > maxDescriptors) throw unacceptable(this.image, `its OCI layout has a list that is none, or has more than ${maxDescriptors} items`);
    return value;
  }

  #descriptor(value: unknown, what: string): Descriptor {
    const { mediaType, digest, size, platform } = fieldsOf(value) ?? {};
    if (typeof mediaType !== 'string' || typeof digest !== 'string' || !digestPattern.test(digest) || typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
      throw unacceptable(this.image, `its OCI layout describes a ${what} without type, size and sha256 or sha512 digest`);
    }
    return { mediaType, digest, size, platform: fieldsOf(platform) };
  }

  async #blob({ digest, size }: Descriptor): Promise<unknown> {
    return await this.parts.json(pathOf(digest), { digest, size });
  }
}

/** A part's name that is its digest. */
const named = /^(?:blobs\/sha256\/)?([0-9a-f]{64})(?:\.json)?$/;

async function dockerSave(image: string, parts: Parts, arch: string): Promise<FoundImage> {
  const list = await parts.json('manifest.json');
  if (!Array.isArray(list) || list.length !== 1) throw unacceptable(image, `its docker save archive holds ${Array.isArray(list) ? list.length : 'no list of'} images; one is wanted`);
  const { Config: configPath, Layers: paths } = fieldsOf(list[0]) ?? {};
  if (typeof configPath !== 'string' || !Array.isArray(paths) || !paths.every((path): path is string => typeof path === 'string')) throw unacceptable(image, 'its manifest.json does not name a configuration and layers');
  const hex = named.exec(configPath)?.[1];
  const config = parseConfig(image, await parts.json(configPath, hex === undefined ? {} : { digest: `sha256:${hex}` }), arch);
  return { kind: 'docker save archive', config, layers: paired(image, config, paths.map((path) => ({ path, digest: undefined, size: undefined }))) };
}

function paired(image: string, { diffIds }: ContainerImageConfig, layers: readonly Omit<LayerPart, 'diffId'>[]): LayerPart[] {
  if (layers.length !== diffIds.length) throw unacceptable(image, `it has ${layers.length} layers, and its configuration names ${diffIds.length}`);
  return layers.map((layer, index) => ({ ...layer, diffId: diffIds[index] ?? '' }));
}
