#!/bin/sh
# Announces a guest's addresses: announce.sh DEVICE..., inside the container's network namespace.
#
# The kernel sends a gratuitous ARP and an unsolicited neighbour advertisement for every address of a device when the device's MAC is
# set, also to what it is (sysctls arp_notify and ndisc_notify). It then forgets the device's neighbours: they are put
# back, those that the guest set for good as such.
set -eu

for device in "$@"; do
  for knob in "/proc/sys/net/ipv4/conf/$device/arp_notify" "/proc/sys/net/ipv6/conf/$device/ndisc_notify"; do
    [ ! -e "$knob" ] || echo 1 >"$knob"
  done
  link=$(ip -o link show dev "$device")
  mac=${link#*link/ether }
  known=$(ip -o neigh show dev "$device")
  {
    echo "link set dev $device address ${mac%% *}"
    while read -r address word lladdr rest; do
      [ "$word" = lladdr ] || continue # one that did not answer
      case $rest in *PERMANENT*) state=permanent ;; *) state=stale ;; esac
      echo "neighbour replace $address lladdr $lladdr dev $device nud $state"
    done <<EOF
$known
EOF
  } | ip -batch -
done
