# shellcheck shell=bash
# fabric.sh: the two switches that join the machines: `mgmt` (10.70.0.0/24) and `data`, which carries neutron's flat
# and VLAN networks. Plain Linux bridges with fixed addresses in a namespace of their own.

mgmt_ip() {
  case $1 in
    ctl) echo 10.70.0.10 ;;
    host1) echo 10.70.0.11 ;;
    host2) echo 10.70.0.12 ;;
    stock1) echo 10.70.0.13 ;;
    *) die "no management address known for '$1'" ;;
  esac
}
CTL_IP=10.70.0.10

fabric_up() {
  ns_is_up fabric && return 0
  step "fabric: up"
  cgroup_make fabric
  (
    cgroup_join fabric
    ns_up fabric "$DEVSTACK/lib/fabric-init.sh"
  )
  ns_net fabric ip -batch - <<'EOF'
link set lo up
link add mgmt address 02:00:00:70:00:01 type bridge forward_delay 0 mcast_snooping 0
link set mgmt up
link add data address 02:00:00:71:00:01 type bridge forward_delay 0 mcast_snooping 0
link set data up
EOF
}

# fabric_join NAME: gives a machine mgmt0 (with its address) and data0 (bare).
fabric_join() {
  local name=$1 pid last
  ! ns_net "$name" ip link show mgmt0 >/dev/null 2>&1 || return 0
  pid=$(ns_pid "$name")
  last=$(mgmt_ip "$name")
  last=${last##*.}
  ns_net fabric ip link del "m-$name" 2>/dev/null || true
  ns_net fabric ip link del "d-$name" 2>/dev/null || true
  ns_net fabric ip -batch - <<EOF
link add m-$name type veth peer name mgmt0 address 02:00:00:70:00:$last netns $pid
link set m-$name master mgmt up
link add d-$name type veth peer name data0 address 02:00:00:71:00:$last netns $pid
link set d-$name master data up
EOF
  ns_net "$name" ip -batch - <<EOF
addr add $(mgmt_ip "$name")/24 dev mgmt0
link set mgmt0 up
link set data0 up
EOF
}
