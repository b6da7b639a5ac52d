# shellcheck shell=bash
# stock.sh: a third host with Debian's own nova-compute and its fake driver on the same control plane: proof that the
# control plane is right, and the yardstick for benchmarks.

cmd_stock() {
  local fast=
  case ${1:-} in
    up)
      [ "${2:-}" != --fast-poll ] || fast=1
      secrets_load
      ns_need ctl
      with_lock stock stock_up "$fast"
      ;;
    down)
      ns_is_up stock1 || return 0
      host_down stock1
      host_wipe stock1
      ;;
    *) die "usage: cloud stock up [--fast-poll] | cloud stock down" ;;
  esac
}

# The node's UUID is always the same, so that the control plane knows it again after `stock down` and `stock up`.
stock_up() {
  local began=$EPOCHSECONDS
  host_up stock1
  fabric_join stock1
  ovs_start stock1
  agent_root_up stock1
  stock_config | (
    cgroup_join stock1
    nsenter -t "$(ns_pid stock1-agent)" -m -- sh -c 'umask 077; mkdir -p /var/lib/nova/stock
      echo 57000000-0000-4000-8000-000000000001 >/var/lib/nova/stock/compute_id; cat >/etc/nova/stock.conf'
  )
  agent_start stock1
  step "stock1: nova-compute with the fake driver${1:+, reply wait 5 ms}"
  [ -z "$1" ] || SVC_ENV=(PYTHONPATH=/opt/haulier/devstack/fast-poll)
  svc_start stock1-agent nova-compute nova-compute --config-file /etc/nova/stock.conf
  SVC_ENV=()
  wait_services 120 "$began" nova-compute:stock1
  wait_agents 180 "$began" neutron-openvswitch-agent stock1
  cmd_discover
}

stock_config() {
  cat <<EOF
[DEFAULT]
host = stock1
my_ip = $(mgmt_ip stock1)
state_path = /var/lib/nova/stock
transport_url = $(rabbit_url nova)
compute_driver = fake.FakeDriverWithoutFakeNodes
vif_plugging_timeout = 0
vif_plugging_is_fatal = false
[compute]
live_migration_wait_for_vif_plug = false
[vnc]
enabled = false
[service_user]
send_service_user_token = true
$(auth nova)
[placement]
$(auth placement)
[neutron]
$(auth neutron)
[oslo_concurrency]
lock_path = /run/lock/nova
$(authtoken nova)
EOF
}
