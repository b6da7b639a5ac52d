/** One process at a time works on a host's containers: the service, or a command in its place. Freed by the kernel with the process. */
import { mkdir, stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { HaulierError } from '../base/errors.js';

/** The place of the one. */
export interface HostPlace {
  release(): void;
}

/** What nobody else may work with. */
export interface HostPaths {
  readonly runPath: string;
  /** Other hosts may share it; not one of the same name. */
  readonly instancesPath: string;
  readonly host?: string | undefined;
  /** Of the service alone. */
  readonly statePath?: string;
}

/** An abstract Unix socket, which nobody can leave behind. @throws HOST_IN_USE if another process has it */
async function take(name: string, path: string): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'EADDRINUSE' ? new HaulierError('HOST_IN_USE', { path }) : error);
    });
    server.listen({ path: `\0haulier:${name}` }, resolve);
  });
  return server.unref();
}

/** The same for all names of a folder; made if it is not there. */
async function identityOf(folder: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  const { dev, ino } = await stat(folder);
  return `${dev}:${ino}`;
}

/** Takes it. @throws HOST_IN_USE if another process of this machine works with one of these folders already */
export async function takeHost({ runPath, instancesPath, host, statePath }: HostPaths): Promise<HostPlace> {
  const taken: Server[] = [];
  const release = (): void => void taken.forEach((server) => server.close());
  try {
    taken.push(await take(runPath, runPath));
    taken.push(await take(`instances:${await identityOf(instancesPath)}:${host ?? ''}`, instancesPath));
    if (statePath !== undefined) taken.push(await take(`state:${await identityOf(statePath)}`, statePath));
  } catch (error) {
    release();
    throw error;
  }
  return { release };
}
