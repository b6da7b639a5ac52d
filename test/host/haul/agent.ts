/** One host's service, as far as hauls need it: `agent.js OPTIONS SETTINGS` (JSON). Takes a command a line, answers each with a line. */
import { createInterface } from 'node:readline';
import { messageOf } from '../../../src/base/errors.js';
import { Operation } from '../../../src/base/operation.js';
import type { ContainerHostOptions } from '../../../src/container/container-host.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { ContainerSpec, VifSpec } from '../../../src/container/spec.js';
import { haulCommands } from '../../../src/cli/haul-service.js';
import { HaulBoard } from '../../../src/haul/board.js';
import type { Outcome } from '../../../src/haul/live/doubt.js';
import { Hauler } from '../../../src/haul/hauler.js';
import { startControl } from '../../../src/http/control.js';
import type { Peer } from '../../../src/haul/client.js';
import type { HaulProgress, HaulResult, HaulStage, MemoryMode, RestartTiming } from '../../../src/haul/progress.js';
import type { HaulSettings } from '../../../src/haul/settings.js';
import { log } from '../container/harness.js';
import { createReadStream } from 'node:fs';

/** What a haul told of itself. */
export interface HaulAccount {
  readonly result: HaulResult;
  readonly progress: readonly HaulProgress[];
  readonly frozen: number;
}

/** A command. */
export interface Command {
  readonly n: number;
  readonly do: 'create' | 'start' | 'expect' | 'ended' | 'coming' | 'decide' | 'haul' | 'view' | 'destroy' | 'pause' | 'unpause' | 'quiesce' | 'unquiesce' | 'image' | 'list' | 'stop';
  readonly id: string;
  readonly spec?: ContainerSpec;
  readonly peer?: Peer;
  readonly token?: string;
  readonly mode?: MemoryMode;
  readonly restart?: RestartTiming;
  readonly shared?: boolean;
  readonly outcome?: Outcome;
  /** Aborts the haul when it comes to this stage, or asks for no more rounds. */
  readonly abortAt?: HaulStage;
  readonly forceAt?: HaulStage;
  /** Both of them: not before this round of that stage. */
  readonly atRound?: number;
  /** At `expect`: the container's ports on this host. */
  readonly vifs?: readonly VifSpec[];
  readonly image?: { readonly id: string; readonly file: string; readonly checksum: { readonly algorithm: string; readonly value: string }; readonly layer: boolean };
}

const [options, settings] = process.argv.slice(2, 4).map((text) => JSON.parse(text) as unknown) as [ContainerHostOptions, HaulSettings];
const host = new LocalContainerHost(options, log);
await host.start();
const board = new HaulBoard();
const hauler = new Hauler(host.parts, settings, host, log, board);
await hauler.start();
const forHauls = haulCommands({ board, decide: (id, outcome) => hauler.decide(id, outcome) });
const control = await startControl(options.runPath, forHauls.commands, log, forHauls.streams);
await hauler.listen();
const say = (answer: object): void => void process.stdout.write(`${JSON.stringify(answer)}\n`);
const run = async <T>(name: string, work: (operation: Operation) => Promise<T>): Promise<T> => await new Operation({ name, log }).run(work);

let ended: string | undefined;

async function haul({ id, peer, token, mode, restart, shared, abortAt, forceAt, atRound = 0 }: Command, operation: Operation): Promise<HaulAccount> {
  const progress: HaulProgress[] = [];
  let frozen = 0;
  const force = new AbortController();
  const result = await hauler.haul(id, peer!, token!, operation, {
    ...(mode ? { mode } : {}), ...(restart ? { restart } : {}), ...(shared ? { shared } : {}), force: force.signal,
    onFrozen: () => void frozen++,
    onProgress: (look) => {
      progress.push(look);
      if (look.round < atRound) return;
      if (look.stage === abortAt) operation.abort(new Error('somebody aborts it'));
      if (look.stage === forceAt) force.abort();
    },
  });
  return { result, progress, frozen };
}

async function act(command: Command): Promise<unknown> {
  const { id, spec, peer, image } = command;
  switch (command.do) {
    case 'image': return await run('image', (operation) => host.ensureImage({ id: image!.id, checksum: image!.checksum, size: undefined, diskFormat: 'raw', containerFormat: 'bare', ...(image!.layer ? { layer: true } : {}), open: async () => createReadStream(image!.file) }, operation));
    case 'create': return await run('create', (operation) => host.create(spec!, operation));
    case 'start': return await run('start', (operation) => host.startContainer(id, operation));
    case 'expect': return hauler.expect({ instance: id, peer: peer!, ttlMs: 60_000, ...(command.vifs ? { respec: (old) => ({ ...old, vifs: command.vifs! }) } : {}), onEnd: (end) => { ended = 'arrived' in end ? `arrived ${end.arrived.id}` : end.error.message; } }).token;
    case 'ended': return ended;
    case 'decide': return await hauler.decide(id, command.outcome!);
    case 'coming': return await hauler.coming(id);
    case 'haul': return await run('haul', (operation) => haul(command, operation));
    case 'view': return await host.view(id);
    case 'pause': return await run('pause', (operation) => host.pause(id, operation));
    case 'unpause': return await run('unpause', (operation) => host.unpause(id, operation));
    case 'quiesce': return await run('quiesce', (operation) => host.quiesce(id, true, operation));
    case 'unquiesce': return await host.unquiesce(id);
    case 'list': return await host.list();
    case 'destroy': return await run('destroy', (operation) => host.destroy(id, operation));
    case 'stop':
      await hauler.stop();
      await control.close();
      await host.stop();
      setTimeout(() => process.exit(0), 50);
  }
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const command = JSON.parse(line) as Command;
  act(command).then((result) => say({ n: command.n, result }), (error: unknown) => say({ n: command.n, error: messageOf(error), code: (error as { code?: string }).code }));
});
say({ ready: true });
