# shellcheck shell=bash
# agent.sh: neutron's Open vSwitch agent of a host: a Debian trixie program, so it runs in a mount namespace of its own
# with the control root, inside the host's other namespaces.

agent_root_up() {
  local name=$1 pid
  ns_is_up "$name-agent" && return 0
  pid=$(ns_pid "$name")
  rm -rf --one-file-system "$WORK/hosts/$name/agent"
  mkdir -p "$WORK/hosts/$name/agent/upper"
  agent_config "$name"
  (
    cgroup_join "$name"
    NS_ENTER=(nsenter -t "$pid" -n -p -u -i -- unshare -m --propagation slave)
    ns_up "$name-agent" "$DEVSTACK/lib/agent-init.sh" "$name"
  )
}

agent_config() {
  local etc=$WORK/hosts/$1/agent/upper/etc/neutron
  mkdir -p "$etc/plugins/ml2"
  cat >"$etc/neutron.conf" <<EOF
[DEFAULT]
host = $1
transport_url = $(rabbit_url neutron)
[oslo_concurrency]
lock_path = /run/lock/neutron
EOF
  # root_helper: the agent is root already, so no sudo or rootwrap is between it and its helpers.
  cat >"$etc/plugins/ml2/openvswitch_agent.ini" <<EOF
[agent]
extensions = qos
polling_interval = 1
root_helper = /usr/bin/env
[ovs]
integration_bridge = br-int
bridge_mappings = physnet1:br-phy
datapath_type = netdev
ovsdb_connection = tcp:127.0.0.1:6640
of_listen_address = 127.0.0.1
[securitygroup]
enable_security_group = true
firewall_driver = openvswitch
EOF
  chmod 640 "$etc/neutron.conf"
  metadata_config "$etc"
}

agent_start() {
  svc_start "$1-agent" neutron-agent neutron-openvswitch-agent --config-file /etc/neutron/neutron.conf \
    --config-file /etc/neutron/plugins/ml2/openvswitch_agent.ini
}
