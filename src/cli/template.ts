/** `haulier template mark ID` and `haulier template capture ID NAME` (docs/templates.md). */
import { isAbsolute, resolve } from 'node:path';
import { findContainer } from './containers.js';
import { containerOptions } from './wiring.js';
import type { LoadedConfig } from '../base/config/load.js';
import { createLog } from '../base/log.js';
import { Operation } from '../base/operation.js';
import { HaulierError } from '../base/errors.js';
import type { ContainerHost } from '../container/container-host.js';
import { takeHost } from '../container/host-lock.js';
import { LocalContainerHost } from '../container/local-container-host.js';
import { InstanceStore } from '../container/state.js';
import type { Captured } from '../container/template/capture.js';
import { callService, NoService, type Commands } from '../http/control.js';
import type { TemplateRequest } from './template-request.js';

/** The service's side: one operation at a time on a container. @param run runs work as the instance's operation, under its lock */
export function templateCommands(host: Pick<ContainerHost, 'markTemplate' | 'captureTemplate'>, run: <T>(id: string, name: string, work: (operation: Operation) => Promise<T>) => Promise<T>): Commands {
  const text = (args: Readonly<Record<string, unknown>>, name: string): string => {
    const value = args[name];
    if (typeof value !== 'string' || value === '') throw new HaulierError('BAD_ARGUMENT', { method: 'template', argument: name, problem: 'is missing' });
    return value;
  };
  return {
    'template-mark': (args) => run(text(args, 'id'), 'template_mark', (operation) => host.markTemplate(text(args, 'id'), operation)),
    'template-capture': (args) => {
      const file = text(args, 'file');
      if (!isAbsolute(file)) throw new HaulierError('BAD_ARGUMENT', { method: 'template', argument: 'file', problem: 'is not absolute' });
      const keep = Array.isArray(args['keep']) ? args['keep'].map(String) : [];
      return run(text(args, 'id'), 'template_capture', (operation) => host.captureTemplate(text(args, 'id'), file, keep, operation));
    },
  };
}

/** Has the service do it, or does it in the place of one that does not run. */
export async function templateCommand(loaded: LoadedConfig, words: TemplateRequest, print: (line: string) => void): Promise<number> {
  const options = containerOptions(loaded.config);
  const asked = { ...words, id: await findContainer(new InstanceStore(options.instancesPath, options.runPath, options.host), words.id) };
  const file = resolve(asked.output ?? `${asked.name.replaceAll('/', '_')}.tar.zst`);
  const call = async (name: string, args: Readonly<Record<string, unknown>>): Promise<unknown> => {
    try {
      return await callService(options.runPath, name, args);
    } catch (error) {
      if (!(error instanceof NoService)) throw error;
    }
    const place = await takeHost(options);
    const log = createLog({ level: loaded.config.DEFAULT.debug ? 'debug' : 'warn' });
    const host = new LocalContainerHost(options, log);
    try {
      await host.start();
      return await templateCommands(host, (id, what, work) => new Operation({ name: what, log, instance: id }).run(work))[name]?.(args);
    } finally {
      await host.stop();
      place.release();
    }
  };
  if (asked.verb === 'mark') {
    print(`marked ${asked.id}: ${String(await call('template-mark', { id: asked.id }))} paths. Install now, then: haulier template capture ${asked.id} NAME`);
    return 0;
  }
  const captured = (await call('template-capture', { id: asked.id, file, keep: asked.keep })) as Captured;
  print(`${captured.file}: ${captured.bytes} bytes, ${captured.changed} changed, ${captured.removed} removed, sha256 ${captured.sha256}`);
  if (captured.below.length > 0) print(`made over the templates ${captured.below.join(', ')}: attach it after them`);
  print('To save it, with the rights of whoever is to use it:');
  print(`openstack image create '${asked.name.replaceAll('\'', '\'\\\'\'')}' --disk-format raw --container-format bare --property haulier:template=true --property haulier:template_base=${captured.base} --file '${captured.file.replaceAll('\'', '\'\\\'\'')}'`);
  return 0;
}
