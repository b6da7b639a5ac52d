/** From the container room's states to Nova's power states (nova/compute/power_state.py). */
import type { ContainerState } from '../container/spec.js';
import { powerStates, type PowerState } from '../nova/states.js';

/** Nova's power state of a container's state. */
export function powerStateOf(state: ContainerState): PowerState {
  switch (state) {
    case 'running': return powerStates.RUNNING;
    case 'paused': return powerStates.PAUSED;
    case 'suspended': return powerStates.SUSPENDED;
    case 'stopped': return powerStates.SHUTDOWN;
    case 'crashed': return powerStates.CRASHED;
    case 'missing': return powerStates.NOSTATE;
  }
}
