/** Archives of container images made on the spot: OCI layouts and what docker save writes, good ones and such as no tool would make. */
import { createHash } from 'node:crypto';
import { handmadeTar, through, type Entry } from './helper.js';

export const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
export const goArch = ({ x64: 'amd64', arm64: 'arm64' } as Record<string, string>)[process.arch] ?? process.arch;

/** A layer: its uncompressed archive, and how it lies in the image. */
export interface LayerInput {
  readonly tar: Buffer;
  readonly packing?: 'gzip' | 'zstd';
}

/** What may be wrong with an image. */
export interface Wrong {
  /** Changes of the configuration's top level, and of its `config`. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly run?: Readonly<Record<string, unknown>>;
  /** The configuration's bytes instead. */
  readonly configBytes?: Buffer;
  /** Names in the archive whose bytes are changed, or that are left out. */
  readonly change?: (files: Map<string, Buffer>) => void;
}

const packed = ({ tar, packing }: LayerInput): Buffer => (packing === 'gzip' ? through(tar, 'gzip', '-1') : packing === 'zstd' ? through(tar, 'zstd', '-q') : tar);

function configOf(layers: readonly LayerInput[], { config = {}, run = {}, configBytes }: Wrong): Buffer {
  return configBytes ?? json({ os: 'linux', architecture: goArch, rootfs: { type: 'layers', diff_ids: layers.map(({ tar }) => `sha256:${sha256(tar)}`) }, config: run, ...config });
}

/** Packs files under their names; names may be long. */
export function archive(files: ReadonlyMap<string, Buffer>): Buffer {
  return handmadeTar(...[...files].map(([name, data]): Entry => ({ name, data })));
}

/** An OCI image layout as a tar archive. */
export function ociArchive(layers: readonly LayerInput[], wrong: Wrong = {}): Buffer {
  const files = new Map<string, Buffer>([['oci-layout', json({ imageLayoutVersion: '1.0.0' })]]);
  const blob = (mediaType: string, bytes: Buffer): Record<string, unknown> => {
    files.set(`blobs/sha256/${sha256(bytes)}`, bytes);
    return { mediaType, digest: `sha256:${sha256(bytes)}`, size: bytes.length };
  };
  const manifest = {
    schemaVersion: 2, mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: blob('application/vnd.oci.image.config.v1+json', configOf(layers, wrong)),
    layers: layers.map((layer) => blob(`application/vnd.oci.image.layer.v1.tar${layer.packing ? `+${layer.packing}` : ''}`, packed(layer))),
  };
  files.set('index.json', json({ schemaVersion: 2, manifests: [blob('application/vnd.oci.image.manifest.v1+json', json(manifest))] }));
  wrong.change?.(files);
  return archive(files);
}

/** What `docker save` of Docker before 25 writes; a layer that is there twice is a link. */
export function dockerArchive(layers: readonly LayerInput[], wrong: Wrong = {}): Buffer {
  const config = configOf(layers, wrong);
  const files = new Map<string, Buffer>([[`${sha256(config)}.json`, config]]);
  const links: Entry[] = [];
  const seen = new Map<string, string>();
  const paths = layers.map(({ tar }, index) => {
    const folder = sha256(Buffer.from(`${index}${sha256(tar)}`));
    const before = seen.get(sha256(tar));
    if (before === undefined) files.set(`${folder}/layer.tar`, tar);
    else links.push({ name: `${folder}/layer.tar`, type: '2', link: `../${before}/layer.tar` });
    seen.set(sha256(tar), folder);
    return `${folder}/layer.tar`;
  });
  files.set('manifest.json', json([{ Config: `${sha256(config)}.json`, RepoTags: ['x:latest'], Layers: paths }]));
  wrong.change?.(files);
  const body = archive(files);
  return Buffer.concat([body.subarray(0, -1024), handmadeTar(...links)]);
}
