/**
 * Unpacks a disk that holds one root file system, without the host's kernel reading it: QCOW2 through qemu-img, SquashFS through
 * sqfs2tar, ext2/3/4 through fuse2fs, all in the jail, and from there through the same tar as every image. The disk must be there as
 * a whole: it is kept in a file beside the tree, which is gone afterwards.
 */
import { mkdir, rename, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { ImageSource } from '../../spec.js';
import { openInside } from '../../guest-tree.js';
import { saysDiskFull } from '../../../base/disk-full.js';
import { unacceptable } from '../image-error.js';
import { HaulierError, messageOf } from '../../../base/errors.js';
import { jailed } from '../jail.js';
import { runJailed } from '../jailed-run.js';
import { startPiped } from '../piped-process.js';
import { removeTree } from '../remove-tree.js';
import { unpackImage, type UnpackLimits, type Unpacked } from '../unpack.js';
import { findFileSystem, type FoundFileSystem } from './partitions.js';
import { checkQcow2, qcow2HeadBytes } from './qcow2.js';
import { storeImage } from './store.js';

/** A disk that is to be unpacked. */
export interface DiskWork {
  readonly source: ImageSource;
  readonly bytes: AsyncIterable<Buffer>;
  readonly qcow2: boolean;
}

/**
 * @param folder holds an empty `rootfs/`
 * @throws IMAGE_UNACCEPTABLE, DISK_FULL, the source's own error, the signal's reason
 */
export async function unpackDisk({ source, bytes, qcow2 }: DiskWork, folder: string, limits: UnpackLimits, signal: AbortSignal, progress: (bytes: number) => void): Promise<Unpacked> {
  const work = join(folder, 'disk');
  await mkdir(work, { mode: 0o700 });
  const storedBytes = await storeImage(source, bytes, join(work, 'image'), limits.maxBytes, signal, (done) => progress(done / 2));
  if (qcow2) await convert(source.id, work, limits.maxBytes, signal);
  const found = await locate(source.id, work);
  const unpacked = await unpackImage(
    { id: source.id, size: undefined, checksum: undefined, diskFormat: 'raw', containerFormat: 'bare', open: async () => archiveOf(source.id, work, found, signal) },
    join(folder, 'rootfs'), limits, signal, () => undefined,
  );
  await removeTree(work);
  progress(storedBytes);
  return { ...unpacked, packing: qcow2 ? `qcow2, ${found.kind}` : found.kind, storedBytes };
}

async function convert(image: string, work: string, maxBytes: number, signal: AbortSignal): Promise<void> {
  const handle = await openDisk(image, work);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(qcow2HeadBytes), 0, qcow2HeadBytes, 0);
    const checked = checkQcow2(buffer.subarray(0, bytesRead), maxBytes);
    if ('wrong' in checked) throw unacceptable(image, checked.wrong);
  } finally {
    await handle.close();
  }
  const end = await runJailed(['qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', 'image', 'raw'], { folder: { path: work, writable: true }, capabilities: ['CAP_DAC_OVERRIDE'], maxFileBytes: maxBytes }, undefined, signal);
  if (end.code !== 0) throw failed(image, work, 'qemu-img', end.stderr);
  await rename(join(work, 'raw'), join(work, 'image'));
}

/** What a jailed tool has left may be anything. */
async function openDisk(image: string, work: string): Promise<FileHandle> {
  return await openInside(work, ['image']).catch((error: unknown) => { throw unacceptable(image, `its disk cannot be opened: ${messageOf(error)}`, error); });
}

/** @throws IMAGE_UNACCEPTABLE also for what is no plain file */
export async function locate(image: string, work: string): Promise<FoundFileSystem> {
  const handle = await openDisk(image, work);
  try {
    const { size } = await handle.stat();
    return await findFileSystem(async (at, length) => {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, at);
      return buffer.subarray(0, bytesRead);
    }, size);
  } catch (error) {
    throw unacceptable(image, (error as Error).message);
  } finally {
    await handle.close();
  }
}

const toTar = 'exec tar --directory=/tree --create --file=- --format=posix --numeric-owner --sparse --hole-detection=seek --acls --xattrs --xattrs-include=security.capability --xattrs-include="user.*" --anchored --exclude=./lost+found --warning=no-file-ignored .';

/** How each file system becomes a tar archive on standard output; `$1` is the offset. */
function commandOf(work: string, { kind, offset }: FoundFileSystem): readonly [string, ...string[]] {
  const folder = { path: work, writable: true };
  if (kind === 'squashfs') return jailed(['sqfs2tar', '--root-becomes', '.', 'image'], { folder });
  // writable: it is ours alone, and its journal may have to be played
  return jailed(['sh', '-c', `fuse2fs -o "ro,offset=$1" image /tree >&2 && ${toTar}`, 'sh', `${offset}`], { folder, fuse: true });
}

function archiveOf(image: string, work: string, found: FoundFileSystem, signal: AbortSignal): Readable {
  async function* bytes(): AsyncGenerator<Buffer> {
    const process = startPiped(commandOf(work, found));
    const onAbort = (): void => process.kill();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      process.stdin.end();
      for await (const chunk of process.stdout) yield chunk as Buffer;
      const { code, stderr } = await process.ended;
      if (code !== 0) throw failed(image, work, found.kind === 'squashfs' ? 'sqfs2tar' : 'fuse2fs', stderr);
    } finally {
      signal.removeEventListener('abort', onAbort);
      process.kill();
      await process.ended.catch(() => undefined);
    }
  }
  return Readable.from(bytes(), { objectMode: false, highWaterMark: 1024 * 1024 });
}

function failed(image: string, path: string, tool: string, stderr: string): HaulierError {
  const text = stderr.trim().split('\n').filter((line) => !/journal|corruption or data loss|gracefully unmounted|urandom/.test(line)).at(-1)?.trim() ?? '';
  return saysDiskFull(stderr) ? new HaulierError('DISK_FULL', { path, reason: text }) : unacceptable(image, `its disk cannot be read: ${tool}: ${text.slice(0, 300)}`);
}
