#!/bin/busybox sh
# shellcheck shell=sh
# vm-first-init.sh: /init of the virtual machine's initramfs: puts its root together from the disks (see vm.sh) and goes there.
bb=/bin/busybox
$bb mkdir -p /proc /sys /dev /lower /modules-image /project /disk /root
$bb mount -t devtmpfs dev /dev
$bb mount -t proc proc /proc
while read -r module; do $bb insmod "/modules/$module"; done </modules/order
while [ ! -b /dev/vdd ]; do $bb sleep 0.1; done
$bb mount -t squashfs -o ro /dev/vda /lower
$bb mount -t squashfs -o ro /dev/vdb /modules-image
$bb mount -t squashfs -o ro /dev/vdc /project
$bb mount -t ext4 -o noatime /dev/vdd /disk
$bb mkdir -p /disk/upper /disk/work /disk/project /disk/project-work /disk/state
$bb mount -t overlay -o lowerdir=/lower,upperdir=/disk/upper,workdir=/disk/work root /root
$bb mkdir -p /root/usr/lib/modules /root/opt/haulier /root/var/lib/nova
$bb mount --move /modules-image /root/usr/lib/modules
$bb mount -t overlay -o lowerdir=/project,upperdir=/disk/project,workdir=/disk/project-work project /root/opt/haulier
$bb mount --bind /disk/state /root/var/lib/nova
$bb cp /command /root/command
$bb mount --move /dev /root/dev
$bb umount /proc
exec $bb switch_root /root /bin/bash /opt/haulier/devstack/lib/vm-init.sh
