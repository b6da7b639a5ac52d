/** Serial consoles (nova/compute/manager.py `get_serial_console`, `validate_console_port`). */
import type { Compute, InstanceCall } from '../compute.js';
import { requireContainer } from '../instance-state.js';
import { HaulierError, isHaulierError } from '../../base/errors.js';
import { hideSecret } from '../../base/log.js';
import { elevated } from '../../nova/context.js';
import { authorizeConsole, type ConsoleAnswer } from '../../nova/faults.js';

/** Where the console is. @throws INSTANCE_NOT_FOUND, CONSOLE_TYPE_UNAVAILABLE, SERIAL_PORTS_EXHAUSTED */
async function serialConsole(compute: Compute, uuid: string, type: string): Promise<{ readonly host: string; readonly port: number }> {
  const { serial } = compute.containers;
  if (!serial) throw new HaulierError('CONSOLE_TYPE_UNAVAILABLE', { type });
  await requireContainer(compute, uuid);
  const { state } = await compute.containers.view(uuid);
  if (state !== 'running' && state !== 'paused') throw new HaulierError('CONSOLE_TYPE_UNAVAILABLE', { type });
  return { host: serial.address, port: await serial.port(uuid) };
}

/** get_serial_console: a port of this host, and a token for it that the conductor keeps. */
export async function getSerialConsole(compute: Compute, call: InstanceCall): Promise<ConsoleAnswer> {
  const type = String(call.args['console_type']);
  const { conductor, settings } = compute;
  try {
    const place = await serialConsole(compute, call.uuid, type);
    const answer = await authorizeConsole(conductor, elevated(call.context), call.uuid, { type, ...place, baseUrl: settings.serialBaseUrl }, settings.consoleTokenTtl);
    hideSecret(answer.token);
    return answer;
  } catch (error) {
    if (isHaulierError(error, 'INSTANCE_NOT_FOUND') && call.instance.text('vm_state') === 'building') throw new HaulierError('INSTANCE_NOT_READY', { instance: call.uuid });
    throw error;
  }
}

/** validate_console_port: asked by the proxy right before it connects. `port` is text. @returns whether the console is at that port */
export async function validateConsolePort(compute: Compute, call: InstanceCall): Promise<boolean> {
  const type = String(call.args['console_type']);
  if (type !== 'serial') throw new HaulierError('CONSOLE_TYPE_UNAVAILABLE', { type });
  const { port } = await serialConsole(compute, call.uuid, type);
  if (String(port) !== String(call.args['port'])) return false;
  compute.containers.serial?.admit(call.uuid);
  return true;
}
