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
  mac=$(ip -o link show dev "$device" | sed -n 's/.* link\/ether \([0-9a-f:]*\) .*/\1/p')
  fixed=$(ip -o neigh show dev "$device" nud permanent | sed -n "s/^\([^ ]*\) lladdr \([^ ]*\) .*/neighbour replace \1 lladdr \2 dev $device nud permanent/p")
  known=$(ip -o neigh show dev "$device" | sed -n "/ PERMANENT *\$/d; s/^\([^ ]*\) lladdr \([^ ]*\) .*/neighbour replace \1 lladdr \2 dev $device nud stale/p")
  ip link set dev "$device" address "$mac"
  [ -z "$fixed$known" ] || printf '%s\n' "$fixed" "$known" | ip -batch -
done
