/** What the storage tests share: images made on the spot, hostile ones too, and a look at what is left behind. */
import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { isHaulierError } from '../../../src/base/errors.js';
import { silentLog } from '../../../src/base/log.js';
import { Operation } from '../../../src/base/operation.js';
import { run } from '../../../src/base/run.js';
import { readHostFacts } from '../../../src/container/checkpoint/facts.js';
import { ImageStore } from '../../../src/container/image/image-store.js';
import type { ImageSource } from '../../../src/container/spec.js';
import { RootFs } from '../../../src/container/storage/root-fs.js';
import { mountsUnder } from '../../../src/container/storage/mounts.js';

export const log = silentLog();
export const operation = (name = 'test'): Operation => new Operation({ name, log });

/** Why these tests cannot run here, or undefined. They need root, mount(8) with idmapped mounts, and bubblewrap. */
export function missing(): string | undefined {
  if (process.getuid?.() !== 0) return 'not root';
  const version = /util-linux (\d+)\.(\d+)/.exec(execFileSync('mount', ['--version'], { encoding: 'utf8' }));
  if (!version || Number(version[1]) < 2 || Number(version[2]) < 39) return 'mount(8) older than 2.39: no X-mount.idmap';
  return ['bwrap', 'mkfs.ext4', 'zstd', 'xz'].find((tool) => !['/usr/bin', '/usr/sbin', '/bin', '/sbin'].some((dir) => existsSync(join(dir, tool))));
}

/** A folder of its own on a real disk, with a store and a RootFs in it. */
export interface Bench {
  readonly dir: string;
  readonly images: ImageStore;
  readonly rootFs: RootFs;
  /** Makes an instance folder. */
  instance(name: string): Promise<string>;
  /** Names whatever is left: mounts, loop devices, entries of `_base` besides `expected`. */
  leftovers(...expected: string[]): Promise<string[]>;
  close(): Promise<void>;
}

export async function bench(limits: { maxBytes?: number; maxEntries?: number; maxSeconds?: number; dir?: string; host?: string } = {}): Promise<Bench> {
  const parent = existsSync('/var/lib/nova') ? '/var/lib/nova' : '/var/tmp';
  const dir = limits.dir ?? await mkdtemp(join(parent, 'storage-test-'));
  await chmod(dir, 0o755); // as instances_path is: the container's root must get through
  const images = new ImageStore({ instancesPath: dir, host: limits.host, maxBytes: limits.maxBytes ?? 2 * 1024 ** 3, maxEntries: limits.maxEntries, ...(limits.maxSeconds === undefined ? {} : { maxSeconds: limits.maxSeconds }), log, memory: { snapshotKey: undefined, facts: () => readHostFacts({ criu: 'criu', runc: 'runc' }) } });
  await images.start();
  const rootFs = new RootFs({ images, defaultRootGiB: 2, log });
  return {
    dir, images, rootFs,
    async instance(name) {
      const path = join(dir, name);
      await mkdir(path, { mode: 0o755 });
      return path;
    },
    async leftovers(...expected) {
      const left = mountsUnder(dir).map((mount) => mount.path).filter((path) => path !== dir);
      left.push(...loopsOf(dir));
      left.push(...readdirSync(images.path).filter((name) => !expected.some((id) => name.startsWith(id))));
      return left;
    },
    async close() {
      for (const mount of mountsUnder(dir)) if (mount.path !== dir) await run('umount', ['-l', mount.path], { okCodes: [0, 32] });
      if (limits.dir === undefined) await rm(dir, { recursive: true, force: true });
    },
  };
}

/** Asserts that an image is refused for a reason, and that nothing of it is left. */
export async function refused(t: { regex(text: string, pattern: RegExp): void; deepEqual(a: unknown, b: unknown): void }, b: Bench, image: ImageSource, reason: RegExp, code: 'IMAGE_UNACCEPTABLE' | 'DISK_FULL' = 'IMAGE_UNACCEPTABLE'): Promise<void> {
  const error = await b.images.ensure(image, operation()).then(() => undefined, (problem: unknown) => problem);
  t.regex(isHaulierError(error, code) ? error.message : `not ${code}: ${String(error)}`, reason);
  t.deepEqual(await b.leftovers(), []);
  t.deepEqual(b.images.list(), []);
}

/** Loop devices backed by files below `dir`. */
export function loopsOf(dir: string): string[] {
  const name = dir.split('/').at(-1) ?? dir;
  return readdirSync('/sys/block').filter((device) => device.startsWith('loop')).filter((device) => {
    try {
      return readFileSync(`/sys/block/${device}/loop/backing_file`, 'utf8').includes(`/${name}/`);
    } catch {
      return false;
    }
  });
}

/** An image source over bytes in memory. */
export function source(id: string, bytes: Buffer, changes: Partial<ImageSource> & { opened?: () => void } = {}): ImageSource {
  const { opened, ...rest } = changes;
  return {
    id, size: bytes.length, checksum: { algorithm: 'sha512', value: createHash('sha512').update(bytes).digest('hex') }, diskFormat: 'raw', containerFormat: 'bare',
    open: () => {
      opened?.();
      return Promise.resolve(Readable.from(chunks(bytes)));
    },
    ...rest,
  };
}

export function* chunks(bytes: Buffer, size = 65_536): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** One entry of a hand-made archive. */
export interface Entry {
  readonly name: string;
  /** tar type: 0 file, 1 hard link, 2 symbolic link, 3 character device, 5 folder. */
  readonly type?: string;
  readonly link?: string;
  readonly data?: string | Buffer;
  readonly uid?: number;
  readonly mode?: number;
}

/** A tar archive that tar itself would not make. */
export function handmadeTar(...entries: Entry[]): Buffer {
  const blocks: Buffer[] = [];
  for (const entry of entries) {
    const data = typeof entry.data === 'object' ? entry.data : Buffer.from(entry.data ?? '');
    const block = Buffer.alloc(512);
    const octal = (value: number, at: number, length: number): void => { block.write(value.toString(8).padStart(length - 1, '0') + '\0', at); };
    block.write(entry.name, 0);
    octal(entry.mode ?? 0o755, 100, 8);
    octal(entry.uid ?? 0, 108, 8);
    octal(0, 116, 8);
    octal(data.length, 124, 12);
    octal(1_700_000_000, 136, 12);
    block.write('        ', 148);
    block.write(entry.type ?? '0', 156);
    block.write(entry.link ?? '', 157);
    block.write('ustar\x0000', 257, 'latin1');
    octal(1, 329, 8);
    octal(3, 337, 8);
    block.write(block.reduce((sum, byte) => sum + byte, 0).toString(8).padStart(6, '0') + '\0 ', 148, 'latin1');
    blocks.push(block, data, Buffer.alloc((512 - data.length % 512) % 512));
  }
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

/** A small guest: busybox, files of several owners, a set-uid program, a file capability, a sparse file. */
export async function guestTar(): Promise<Buffer> {
  const dir = await mkdtemp('/var/tmp/guest-');
  try {
    const script = `set -e; cd ${dir}; mkdir -p bin sbin etc tmp proc dev root usr/lib var/data
      cp /bin/busybox bin/; for a in sh id ls stat cat chown mkdir rm dd df ln mv touch cp sync yes; do ln -s busybox bin/$a; done
      ln -s ../bin/busybox sbin/init; ln -s /etc/owned etc/absolute; echo root > etc/owned; echo user > etc/user; chown 1000:1000 etc/user; echo last > etc/last; chown 65535:65535 etc/last
      mkdir capable setuid; cp /bin/busybox capable/grep; setcap cap_net_raw+ep capable/grep; ln etc/user etc/user2
      cp /bin/su setuid/cat 2>/dev/null; cp /usr/bin/cat setuid/cat; chmod 4755 setuid/cat
      for lib in $(ldd /usr/bin/cat | grep -o '/[^ ]*'); do mkdir -p .$(dirname $lib); cp -L $lib .$lib; done
      truncate -s 32M var/data/sparse; dd if=/dev/urandom of=var/data/random bs=1M count=4 2>/dev/null; chmod 1777 tmp; chmod 700 .; mknod dev/null c 1 3; mknod var/data/zero c 1 5
      tar --xattrs --xattrs-include='security.capability' --numeric-owner -S -cf ../guest-$$.tar .; cat ../guest-$$.tar; rm ../guest-$$.tar`;
    return execFileSync('bash', ['-c', script], { maxBuffer: 1 << 28 });
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** Pipes bytes through a command. */
export function through(bytes: Buffer, ...command: [string, ...string[]]): Buffer {
  return execFileSync(command[0], command.slice(1), { input: bytes, maxBuffer: 1 << 30 });
}

/** Runs a shell line in a root file system as the container's root would: in its user namespace. */
export async function inside(rootfs: string, idBase: number, line: string, okCodes: number[] = [0], as = '0:0'): Promise<string> {
  const result = await run('unshare', ['--user', `--map-users=0:${idBase}:65536`, `--map-groups=0:${idBase}:65536`, '--setuid', '0', '--setgid', '0', '--mount',
    'sh', '-c', `mount --rbind /proc "$1/proc"; exec chroot --userspec=${as} "$1" /bin/sh -c "$2"`, 'sh', rootfs, line], { okCodes, timeoutMs: 60_000 });
  return result.stdout + result.stderr;
}
