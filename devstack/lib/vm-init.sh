#!/bin/bash
# vm-init.sh: process 1 of the virtual machine: what an init would mount, then the command, then the end.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec </dev/null >/dev/ttyS0 2>&1
knob() { { echo "$2" >"/proc/sys/$1"; } 2>/dev/null || true; }

mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -m 1777 /run/lock
mkdir /run/netns
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup
# criu looks for these by itself; one that the kernel has to load while it looks comes too late
for module in tcp_diag udp_diag unix_diag netlink_diag af_packet_diag loop veth tun bridge nf_tables; do modprobe "$module"; done
printf '127.0.0.1 localhost vm\n::1 localhost\n' >/etc/hosts
hostname vm
ip link set lo up
knob net/ipv4/ip_forward 1
knob net/ipv6/conf/all/accept_dad 0
knob net/ipv6/conf/default/accept_dad 0
knob fs/pipe-max-size 67108864

stty -F /dev/ttyS1 raw -echo
# through a pipe: it is no terminal for people
bash /command 2>&1 | cat >/dev/ttyS1
echo "vm: the command ended with ${PIPESTATUS[0]}, $(cut -d ' ' -f 1 /proc/uptime) s after the start"
sync
busybox poweroff -f
