/** Ports on Open vSwitch, as os-vif's `vif_plug_ovs` makes them: neutron's agent (or ovn-controller) finds them by `iface-id`. */
import { HaulierError, messageOf } from '../../base/errors.js';
import { run } from '../../base/run.js';

const timeoutSeconds = 30;

/** One interface in the switch. */
export interface OvsPort {
  readonly bridge: string;
  readonly device: string;
  readonly portId: string;
  readonly mac: string;
  readonly instance: string;
  readonly mtu: number | undefined;
  /** `system` or `netdev`; undefined leaves the bridge as it is. */
  readonly datapathType: string | undefined;
}

/** ovs-vsctl of one database. */
export class Ovs {
  readonly #command: string;
  readonly #database: readonly string[];

  /** @param database `--db`; undefined: ovs-vsctl's own default */
  constructor(command: string, database: string | undefined) {
    this.#command = command;
    this.#database = database === undefined ? [] : [`--db=${database}`];
  }

  /** Adds the port in one transaction, with its bridge if that is missing. Idempotent. @throws VIF_PLUG_FAILED */
  async addPort(port: OvsPort, signal?: AbortSignal): Promise<void> {
    await this.#plug(addPortArguments(port), signal);
  }

  /** Deletes the port from whatever bridge it is on. Idempotent. */
  async deletePort(device: string): Promise<void> {
    await this.#run(['--if-exists', 'del-port', device]);
  }

  /** Deletes these ports and whatever else carries this instance's uuid. Idempotent. @returns the names of the latter */
  async deletePortsOf(instance: string, devices: readonly string[]): Promise<string[]> {
    const { stdout } = await this.#run([
      '--bare', ...devices.flatMap((device) => ['--', '--if-exists', 'del-port', device]),
      '--', '--columns=name', 'find', 'Interface', `external_ids:vm-uuid=${instance}`,
    ]);
    const rest = stdout.split('\n').map((line) => line.trim()).filter((name) => name && !devices.includes(name));
    for (const name of rest) await this.deletePort(name);
    return rest;
  }

  async #plug(args: readonly string[], signal?: AbortSignal): Promise<void> {
    try {
      await this.#run(args, signal);
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new HaulierError('VIF_PLUG_FAILED', { reason: messageOf(error) }, { cause: error });
    }
  }

  async #run(args: readonly string[], signal?: AbortSignal): Promise<{ readonly stdout: string }> {
    return await run(this.#command, [`--timeout=${timeoutSeconds}`, ...this.#database, ...args], {
      timeoutMs: (timeoutSeconds + 5) * 1000,
      ...(signal ? { signal } : {}),
    });
  }
}

/** Arguments of one ovs-vsctl transaction that adds a port. */
export function addPortArguments(port: OvsPort): string[] {
  const datapath = port.datapathType ? ['--', 'set', 'Bridge', port.bridge, `datapath_type=${port.datapathType}`] : [];
  return [
    '--', '--may-exist', 'add-br', port.bridge, ...datapath,
    '--', '--may-exist', 'add-port', port.bridge, port.device,
    '--', 'set', 'Interface', port.device,
    `external_ids:iface-id=${port.portId}`,
    'external_ids:iface-status=active',
    `external_ids:attached-mac="${port.mac}"`,
    `external_ids:vm-uuid=${port.instance}`,
    ...(port.mtu === undefined ? [] : [`mtu_request=${port.mtu}`]),
  ];
}
