# shellcheck shell=bash
# metadata.sh: the metadata service as operators have it: Nova's in ctl, and on one host, which is the network node, neutron's
# DHCP agent, whose haproxy answers on 169.254.169.254 in a network's namespace, and neutron's metadata agent behind it. They
# take up networks whose subnets have DHCP.

METADATA_HOST=host1
METADATA_PORT=8775

# metadata_config DIR: what the two agents read, into the folder that becomes /etc/neutron. Called for every host.
metadata_config() {
  cat >"$1/dhcp_agent.ini" <<EOF
[DEFAULT]
interface_driver = openvswitch
enable_isolated_metadata = true
resync_interval = 1
[agent]
root_helper = /usr/bin/env
[ovs]
integration_bridge = br-int
ovsdb_connection = tcp:127.0.0.1:6640
EOF
  cat >"$1/metadata_agent.ini" <<EOF
[DEFAULT]
nova_metadata_host = $CTL_IP
nova_metadata_port = $METADATA_PORT
metadata_proxy_shared_secret = $PW_METADATA
metadata_workers = 0
[agent]
root_helper = /usr/bin/env
EOF
  chmod 640 "$1/metadata_agent.ini"
}

cmd_metadata() {
  secrets_load
  case ${1:-} in
    up) metadata_up ;;
    down) metadata_down ;;
    *) die "usage: cloud metadata up|down" ;;
  esac
}

metadata_up() {
  local since=$EPOCHSECONDS agent
  step "metadata: Nova's service, neutron's agents on $METADATA_HOST"
  uwsgi_start nova-metadata nova/nova-api-metadata-uwsgi.ini "$METADATA_PORT"
  for agent in metadata dhcp; do
    svc_start "$METADATA_HOST-agent" "neutron-$agent" "neutron-$agent-agent" --config-file /etc/neutron/neutron.conf --config-file "/etc/neutron/${agent}_agent.ini"
  done
  svc_wait 120 ctl nova-metadata ctl_run curl -m 5 -s -o /dev/null "http://127.0.0.1:$METADATA_PORT/"
  for agent in metadata dhcp; do
    svc_need "$METADATA_HOST-agent" "neutron-$agent"
    wait_agents 120 "$since" "neutron-$agent-agent" "$METADATA_HOST"
  done
  # it reports itself alive before it listens, and never hears of a network that is made in between
  svc_wait 120 "$METADATA_HOST-agent" neutron-dhcp grep -q 'DHCP agent started' "$(svc_log "$METADATA_HOST-agent" neutron-dhcp)"
}

# What the DHCP agent started for networks that are still there ends too.
metadata_down() {
  local agent
  for agent in dhcp metadata; do svc_stop "$METADATA_HOST-agent" "neutron-$agent" TERM; done
  svc_stop ctl nova-metadata TERM
  # shellcheck disable=SC2016 # expanded inside
  ! ns_is_up "$METADATA_HOST-agent" || ns_in "$METADATA_HOST-agent" -m -n -p -- sh -c '
    for name in $(ip netns list | cut -d" " -f1 | grep ^qdhcp-); do
      ip netns pids "$name" | xargs -r kill
      for port in $(ip netns exec "$name" sh -c "cd /sys/class/net && ls -d tap*"); do ovs-vsctl --timeout=10 -- --if-exists del-port br-int "$port"; done
      ip netns delete "$name"
    done'
}
