/** `haulier haul watch` and `decide`. */
import { findContainer } from './containers.js';
import type { Print } from './commands.js';
import { HaulLines } from './haul-lines.js';
import { haulCheck } from './haul-check.js';
import { assurances, type HaulRequest } from './haul-request.js';
import { containerOptions } from './wiring.js';
import type { LoadedConfig } from '../base/config/load.js';
import { isHaulierError } from '../base/errors.js';
import type { HaulView } from '../haul/board.js';
import { InstanceStore } from '../container/state.js';
import { callService, listenToService } from '../http/control.js';

/** Does what the words say. */
export async function haulCommand(loaded: LoadedConfig, request: HaulRequest, print: Print): Promise<number> {
  switch (request.verb) {
    case 'watch': return await watch(loaded, request, print);
    case 'check': return await haulCheck(loaded, request, print);
    case 'decide': return await decide(loaded, request, print);
  }
}

/** Of one container: until the haul that is under way, or the next one, is over. Else until Ctrl-C. @returns 1 if that haul did not get through */
async function watch(loaded: LoadedConfig, { id, json }: Extract<HaulRequest, { verb: 'watch' }>, print: Print): Promise<number> {
  const { runPath } = containerOptions(loaded.config);
  const instance = id === undefined ? undefined : await instanceOf(loaded, id);
  const began = new Date().toISOString();
  const lines = new HaulLines();
  for await (const value of listenToService(runPath, 'haul-watch', { instance })) {
    const view = value as HaulView;
    if (json) print(JSON.stringify(view));
    else for (const line of lines.of(view)) print(line);
    const over = view.end && Date.parse(view.began) + view.ms >= Date.parse(began);
    if (instance !== undefined && over) return view.end?.result === 'done' ? 0 : 1;
  }
  process.stderr.write('haulier: the service has ended\n');
  return 1;
}

/** One that is on its way here, or has gone, is known by its id alone. */
async function instanceOf(loaded: LoadedConfig, word: string): Promise<string> {
  const { instancesPath, runPath } = containerOptions(loaded.config);
  try {
    return await findContainer(new InstanceStore(instancesPath, runPath), word);
  } catch (error) {
    if (isHaulierError(error, 'INSTANCE_NOT_FOUND') && /^[0-9a-f][0-9a-f-]*$/.test(word)) return word;
    throw error;
  }
}

const warnings = {
  here: `The container goes on here, from the moment in which it was frozen. If the other host runs it too, or ever does again, there are two of
it, with one address: the other host must be off for good, or its instances_path be emptied before it starts again. If that is
so, say it: ${assurances.here}`,
  there: `The frozen container, its memory and its disk are removed here. If the other host does not have it, it is lost. If you
have seen that it runs there, say it: ${assurances.there}`,
};

async function decide(loaded: LoadedConfig, { id, place, sure }: Extract<HaulRequest, { verb: 'decide' }>, print: Print): Promise<number> {
  const { instancesPath, runPath } = containerOptions(loaded.config);
  const instance = await findContainer(new InstanceStore(instancesPath, runPath), id);
  if (!sure) {
    print(warnings[place]);
    return 1;
  }
  await callService(runPath, 'haul-decide', { id: instance, place, sure });
  print(place === 'here' ? `${instance} goes on here` : `${instance} is the other host's; nothing of it is left here`);
  return 0;
}
