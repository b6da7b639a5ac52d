/** A real Open vSwitch for one test file. */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { run } from '../../../src/base/run.js';

/** Why there can be no switch here; undefined if there can. */
export function switchProblem(): string | undefined {
  return existsSync('/usr/sbin/ovs-vswitchd') && existsSync('/usr/sbin/ovsdb-server') ? undefined : 'no ovs-vswitchd here; run in a host made by devstack/cloud';
}

/** A switch of its own: database and daemon in a private folder, userspace datapath. */
export async function startSwitch(): Promise<{ readonly database: string; stop(): Promise<void> }> {
  const folder = await mkdtemp('/run/ovs-');
  const database = `unix:${folder}/db.sock`;
  const environment = { ...process.env, OVS_RUNDIR: folder };
  await run('ovsdb-tool', ['create', `${folder}/conf.db`, '/usr/share/openvswitch/vswitch.ovsschema']);
  await run('ovsdb-server', [`${folder}/conf.db`, `--remote=p${database}`, '--detach', '--no-chdir', `--pidfile=${folder}/db.pid`, `--unixctl=${folder}/db.ctl`, `--log-file=${folder}/db.log`], { env: environment });
  await run('ovs-vsctl', [`--db=${database}`, '--no-wait', 'init']);
  await run('ovs-vswitchd', [database, '--detach', '--no-chdir', `--pidfile=${folder}/vs.pid`, `--unixctl=${folder}/vs.ctl`, `--log-file=${folder}/vs.log`], { env: environment });
  return {
    database,
    stop: async () => {
      await run('sh', ['-c', `kill $(cat ${folder}/vs.pid) $(cat ${folder}/db.pid)`], { okCodes: [0, 1] });
      await rm(folder, { recursive: true, force: true });
    },
  };
}
