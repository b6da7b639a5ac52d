#!/bin/bash
# root-install.sh ROOT CACHE "PACKAGES": installs packages into ROOT by chroot. Runs in a mount and PID namespace of
# its own (see root.sh), so its mounts and anything that a package starts end with it.
set -euo pipefail
root=$1 cache=$2
read -ra packages <<<"$3"

mount --bind "$cache" "$root/var/cache/apt/archives"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
for node in null zero full random urandom tty; do
  touch "$root/dev/$node"
  mount --bind "/dev/$node" "$root/dev/$node"
done
ln -s /proc/self/fd "$root/dev/fd"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
chmod 1777 "$root/dev/shm"

export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
run() { chroot "$root" "$@"; }
run apt-get -q update
echo "== $(date +%T) download"
run apt-get -q -y --download-only install "${packages[@]}"
echo "== $(date +%T) dist-upgrade"
run apt-get -q -y dist-upgrade
echo "== $(date +%T) install"
run apt-get -q -y install "${packages[@]}"
echo "== $(date +%T) done"
# Lists are large and soon old; a later apt-get update brings them back.
rm -rf "${root:?}"/var/lib/apt/lists/*
