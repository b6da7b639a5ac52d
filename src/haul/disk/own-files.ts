/** What a container has beside its layer: the console's text, its config drive, and the checkpoint of a suspended one. As a tar archive in the jail. */
import { existsSync } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { HaulierError } from '../../base/errors.js';
import { driveFile } from '../../container/boot-data/config-drive.js';
import { olderConsole } from '../../container/console.js';
import { jailed } from '../../container/image/jail.js';
import { startPiped } from '../../container/image/piped-process.js';
import { feed } from '../../container/image/feed.js';
import type { HaulChannel } from '../wire/channel.js';

const console = 'console.log';
const checkpoint = 'checkpoint';

/** Sends them. */
export async function sendOwnFiles(channel: HaulChannel, folder: string, suspended: boolean, signal?: AbortSignal): Promise<void> {
  const names = [console, olderConsole(console), driveFile, ...(suspended ? [checkpoint] : [])].filter((name) => existsSync(join(folder, name)));
  const tar = startPiped(jailed(['tar', '--create', '--file=-', '--format=posix', '--numeric-owner', '--sparse', '--exclude=checkpoint/work/*', '--null', '--files-from=-'], { folder: { path: folder, writable: false }, capabilities: ['CAP_DAC_READ_SEARCH'] }));
  try {
    tar.stdin.end(names.map((name) => `${name}\0`).join(''));
    const whole = async function* (): AsyncGenerator<Buffer> {
      for await (const chunk of tar.stdout) yield chunk as Buffer;
      const { code, stderr } = await tar.ended;
      if (code !== 0 && code !== 1) throw new HaulierError('COMMAND_FAILED', { command: 'tar', outcome: `exit code ${code}`, stderr }); // 1: the console grew meanwhile
    };
    await pipeline(whole(), channel.openStream('own', { digest: true }), { signal });
  } finally {
    tar.kill();
    await tar.ended.catch(() => undefined);
  }
}

/** Takes them into `folder`, and nothing else. @throws HAUL_PROTOCOL if something else is in the archive */
export async function receiveOwnFiles(channel: HaulChannel, folder: string, signal?: AbortSignal): Promise<void> {
  const before = new Set(await readdir(folder));
  const from = await channel.acceptStream('own', signal);
  // root's own files, whatever the archive says; the restore hands the images to the container
  const tar = startPiped(jailed(['tar', '--extract', '--file=-', '--no-same-owner', '--preserve-permissions'], { folder: { path: folder, writable: true }, capabilities: ['CAP_DAC_OVERRIDE', 'CAP_FOWNER'] }));
  try {
    void buffer(tar.stdout).catch(() => undefined);
    await feed(from, tar, { signal, afterFailure: 'stop' });
    const { code, stderr } = await tar.ended;
    if (code !== 0) throw new HaulierError('COMMAND_FAILED', { command: 'tar', outcome: `exit code ${code}`, stderr });
  } finally {
    tar.kill();
    await tar.ended.catch(() => undefined);
  }
  for (const name of await readdir(folder)) {
    if (before.has(name)) continue;
    const allowed = name === checkpoint ? (await lstat(join(folder, name))).isDirectory() : [console, olderConsole(console), driveFile].includes(name) && (await lstat(join(folder, name))).isFile();
    if (!allowed) throw new HaulierError('HAUL_PROTOCOL', { reason: `${JSON.stringify(name)} is no file that a container brings` });
  }
}
