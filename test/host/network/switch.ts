/** A real Open vSwitch for one test file. */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { run } from '../../../src/base/run.js';

/** Why there can be no switch here; undefined if there can. */
export function switchProblem(): string | undefined {
  return existsSync('/usr/sbin/ovs-vswitchd') && existsSync('/usr/sbin/ovsdb-server') ? undefined : 'no ovs-vswitchd here; run in a host made by devstack/cloud';
}

/** A switch of its own: database and daemon in a private folder, userspace datapath. @param inside how a command is run where the switch shall be; here by default */
export async function startSwitch(inside: (...command: string[]) => Promise<unknown> = (command, ...args) => run(command!, args)): Promise<{ readonly database: string; stop(): Promise<void> }> {
  const folder = await mkdtemp('/run/ovs-');
  const database = `unix:${folder}/db.sock`;
  const daemon = (name: string, first: string, files: string, ...more: string[]): Promise<unknown> =>
    inside('env', `OVS_RUNDIR=${folder}`, name, first, ...more, '--detach', '--no-chdir', `--pidfile=${folder}/${files}.pid`, `--unixctl=${folder}/${files}.ctl`, `--log-file=${folder}/${files}.log`);
  await run('ovsdb-tool', ['create', `${folder}/conf.db`, '/usr/share/openvswitch/vswitch.ovsschema']);
  await daemon('ovsdb-server', `${folder}/conf.db`, 'db', `--remote=p${database}`);
  await run('ovs-vsctl', [`--db=${database}`, '--no-wait', 'init', '--', 'set', 'Open_vSwitch', '.', 'other_config:userspace-tso-enable=true']); // without it TCP does not pass from veth to veth: its checksums are left to the device
  await daemon('ovs-vswitchd', database, 'vs');
  return {
    database,
    stop: async () => {
      await inside('sh', '-c', `kill $(cat ${folder}/vs.pid) $(cat ${folder}/db.pid) || true`);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
