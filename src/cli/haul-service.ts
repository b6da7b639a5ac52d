/** The service's side of `haulier haul`. */
import { assurances } from './haul-request.js';
import { HaulierError } from '../base/errors.js';
import type { HaulBoard } from '../haul/board.js';
import type { Outcome } from '../haul/live/doubt.js';
import type { Commands, Streams } from '../http/control.js';

/** What the service does for these commands. */
export interface HaulService {
  readonly board: HaulBoard;
  decide(instance: string, outcome: Outcome): Promise<void>;
}

/** The service's side. */
export function haulCommands(hauls: HaulService): { readonly commands: Commands; readonly streams: Streams } {
  return {
    commands: {
      hauls: async () => hauls.board.list(),
      'haul-decide': async ({ id, place, sure }) => {
        if (typeof id !== 'string' || (place !== 'here' && place !== 'there')) throw new HaulierError('BAD_ARGUMENT', { method: 'haul decide', argument: 'place', problem: 'is neither here nor there' });
        if (sure !== true) throw new HaulierError('BAD_ARGUMENT', { method: 'haul decide', argument: assurances[place], problem: 'is missing' });
        await hauls.decide(id, place === 'there' ? 'committed' : 'aborted');
      },
    },
    streams: { 'haul-watch': ({ instance }, signal) => hauls.board.watch(signal, typeof instance === 'string' ? instance : undefined) },
  };
}
