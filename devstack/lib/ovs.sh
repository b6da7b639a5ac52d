# shellcheck shell=bash
# ovs.sh: Open vSwitch of a host: its own database (unix socket and tcp 127.0.0.1:6640) and daemon, on the userspace
# datapath, so no kernel module is needed. br-int is the agent's; br-phy carries physnet1 out of data0.

ovs_start() {
  local name=$1
  svc_pid "$name" ovs-vswitchd >/dev/null && return 0
  cmd_exec_sub "$name" sh -c 'rm -f /run/openvswitch/* /var/lib/nova/.ovs.db; mkdir -p /var/lib/openvswitch
    rm -f /var/lib/openvswitch/conf.db; ovsdb-tool create /var/lib/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema'
  svc_start "$name" ovsdb-server ovsdb-server /var/lib/openvswitch/conf.db --remote=punix:/run/openvswitch/db.sock \
    --remote=ptcp:6640:127.0.0.1 --pidfile=/run/openvswitch/ovsdb-server.pid --unixctl=/run/openvswitch/ovsdb-server.ctl
  svc_wait 10 "$name" ovsdb-server port_open "$name" 6640
  cmd_exec_sub "$name" ovs-vsctl --no-wait init -- set Open_vSwitch . "external_ids:system-id=$name" "external_ids:hostname=$name" \
    other_config:userspace-tso-enable=true
  svc_start "$name" ovs-vswitchd ovs-vswitchd unix:/run/openvswitch/db.sock --pidfile=/run/openvswitch/ovs-vswitchd.pid \
    --unixctl=/run/openvswitch/ovs-vswitchd.ctl
  cmd_exec_sub "$name" ovs-vsctl --timeout=10 -- --may-exist add-br br-int -- set bridge br-int datapath_type=netdev fail_mode=secure \
    -- --may-exist add-br br-phy -- set bridge br-phy datapath_type=netdev -- --may-exist add-port br-phy data0
}

# cmd_exec in a subshell, for steps of ours.
cmd_exec_sub() { (cmd_exec --cwd / "$@") </dev/null; }
