# shellcheck shell=bash
# image.sh: the demo image: a root file system of busybox as tar.gz, the same bytes each time.

image_build() {
  local out=$WORK/image/busybox.tar.gz
  [ ! -s "$out" ] || [ "$(cat "$WORK/image/hash" 2>/dev/null)" != "$(image_hash)" ] || return 0
  step "image busybox: building"
  image_pack "$WORK/roots/host/usr/bin/busybox" "$WORK/image/tree" "$out"
  image_hash >"$WORK/image/hash"
}

# image_pack BUSYBOX TREE OUT: makes it of a static busybox, in a folder that is removed afterwards.
image_pack() {
  local tree=$2 applet
  rm -rf "$tree"
  mkdir -p "$tree"/{bin,sbin,etc,dev,proc,sys,run,root,tmp,var/log,var/www,usr}
  cp "$1" "$tree/bin/busybox"
  for applet in $("$tree/bin/busybox" --list | grep -vx -e busybox -e init); do ln -s busybox "$tree/bin/$applet"; done
  ln -s ../bin/busybox "$tree/sbin/init"
  ln -s ../bin "$tree/usr/bin"
  ln -s ../sbin "$tree/usr/sbin"
  cp "$DEVSTACK"/image/{passwd,group,inittab,profile} "$tree/etc/"
  install -m 755 "$DEVSTACK/image/rc" "$tree/etc/rc"
  echo "haulier demo" >"$tree/var/www/index.html"
  echo "NAME=\"Haulier demo\"" >"$tree/etc/os-release"
  chmod 1777 "$tree/tmp"
  tar -C "$tree" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@1700000000 --format=gnu -cf - . | gzip -n -6 >"$3"
  rm -rf "$tree"
}

image_hash() {
  cat "$WORK/roots/host.stamp" "$DEVSTACK/lib/image.sh" "$DEVSTACK"/image/* | sha256sum | cut -c1-16
}
