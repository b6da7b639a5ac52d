# shellcheck shell=bash
# guests.sh: images of real systems for the host tests: image/guests/NAME.tar.zst, from debootstrap and apt.
#
# A suite's minimal system is made once and copied for each image. An image is made beside its place and renamed when
# complete; a stamp with the hash of its recipe (devstack/guests/NAME.txt and what is copied in) says that it is. Packages are kept in $WORK/cache.

GUEST_RECIPE=2 # raise when the steps below change what an image contains
GUESTS=$WORK/image/guests

guest_names() { for list in "$DEVSTACK"/guests/*.txt; do basename "$list" .txt; done; }

guest_suite() {
  case $1 in
    debian12) echo bookworm ;;
    *) echo trixie ;;
  esac
}

guest_packages() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$DEVSTACK/guests/$1.txt"; }

guest_hash() {
  { echo "$GUEST_RECIPE $(guest_suite "$1")"; guest_packages "$1"; if [ -d "$DEVSTACK/guests/$1" ]; then cat "$DEVSTACK/guests/$1"/*; fi; } | sha256sum | cut -c1-16
}

guest_is_ready() { [ -s "$GUESTS/$1.tar.zst" ] && [ "$(cat "$GUESTS/$1.stamp" 2>/dev/null)" = "$(guest_hash "$1")" ]; }

# guest-images [NAME...]: they exist and are up to date afterwards; all of them if none is named.
cmd_guest_images() {
  local name names=("$@")
  [ $# -gt 0 ] || mapfile -t names < <(guest_names)
  for name in "${names[@]}"; do [ -f "$DEVSTACK/guests/$name.txt" ] || die "no such guest image: $name ($(guest_names | tr '\n' ' '))"; done
  with_lock guest-images guests_build "${names[@]}"
}

guests_build() {
  local name suite missing=()
  for name in "$@"; do
    if guest_is_ready "$name"; then say "guest image $name: ready ($(guest_hash "$name"))"; else missing+=("$name"); fi
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  machine_tools
  mkdir -p "$GUESTS"
  for suite in $(for name in "${missing[@]}"; do guest_suite "$name"; done | sort -u); do
    guest_base "$suite"
    for name in "${missing[@]}"; do [ "$(guest_suite "$name")" != "$suite" ] || guest_build "$name" "$suite"; done
    rm -rf --one-file-system "$GUESTS/$suite.base"
  done
}

# guest_base SUITE: the minimal system in $GUESTS/SUITE.base.
guest_base() {
  local suite=$1 log=$LOGS/guest-base-$1.log
  step "guest images: debootstrap $suite from $MIRROR" "$log"
  rm -rf --one-file-system "$GUESTS/$suite.base"
  debootstrap_into "$suite" "$GUESTS/$suite.base" >"$log" 2>&1
  rm -f "$GUESTS/$suite.base"/var/cache/apt/archives/*.deb
}

guest_build() {
  local name=$1 suite=$2 tree=$GUESTS/$1.tree log=$LOGS/guest-$1.log began=$SECONDS
  step "guest image $name: $(guest_packages "$name" | wc -l) packages and what they need" "$log"
  rm -rf --one-file-system "$tree"
  rm -f "$GUESTS/$name.stamp"
  cp -a --reflink=auto "$GUESTS/$suite.base" "$tree"
  mkdir -p "$WORK/cache/apt-$suite/partial"
  root_prepare "$tree" "$suite"
  in_build_namespace bash "$DEVSTACK/lib/root-install.sh" "$tree" "$WORK/cache/apt-$suite" "$(guest_packages "$name" | tr '\n' ' ')" >"$log" 2>&1
  guest_finish "$name" "$tree"
  # Its device nodes are the container's business.
  tar -C "$tree" --numeric-owner --sort=name --exclude='./dev/*' -cf - . | zstd -q -T0 -3 -f -o "$GUESTS/$name.tar.zst.new"
  mv "$GUESTS/$name.tar.zst.new" "$GUESTS/$name.tar.zst"
  guest_hash "$name" >"$GUESTS/$name.stamp"
  say "guest image $name: complete, $(du -sm "$tree" | cut -f1) MB, packed $(du -m "$GUESTS/$name.tar.zst" | cut -f1) MB, $((SECONDS - began)) s"
  rm -rf --one-file-system "$tree"
}

# guest_finish NAME TREE: what only building needed goes; what the image adds to its packages comes.
guest_finish() {
  local name=$1 tree=$2 applet
  rm -f "$tree"/var/cache/apt/*.bin "$tree"/var/log/*.log "$tree"/var/log/apt/*
  rm -f "$tree/usr/sbin/policy-rc.d" "$tree/etc/apt/apt.conf.d/90devstack" "$tree/etc/dpkg/dpkg.cfg.d/devstack" "$tree/etc/resolv.conf"
  [ "$name" = apps ] || return 0
  ln -s ../bin/busybox "$tree/usr/sbin/init"
  for applet in nc unshare; do [ -e "$tree/usr/bin/$applet" ] || ln -s busybox "$tree/usr/bin/$applet"; done
  cp "$DEVSTACK/guests/apps/inittab" "$tree/etc/inittab"
  install -D -m 755 "$DEVSTACK/guests/apps/rcS" "$tree/etc/init.d/rcS"
}
