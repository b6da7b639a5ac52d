/** One process at a time works on the containers of a run path: the service, or a command in its place. Freed by the kernel with the process. */
import { createServer } from 'node:net';
import { HaulierError } from '../base/errors.js';

/** The place of the one. */
export interface HostPlace {
  release(): void;
}

/** Takes it: an abstract Unix socket, which nobody can leave behind. @throws HOST_IN_USE if another process has it */
export async function takeHost(runPath: string): Promise<HostPlace> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'EADDRINUSE' ? new HaulierError('HOST_IN_USE', { path: runPath }) : error);
    });
    server.listen({ path: `\0haulier:${runPath}` }, resolve);
  });
  server.unref();
  return { release: () => void server.close() };
}
