# shellcheck shell=bash
# root.sh: makes the root file systems (host: forky, control and vm: trixie) with debootstrap and apt.
#
# A root is made beside its place and renamed when complete; a stamp file with the hash of its recipe says that it is.
# A half-made one is thrown away. Packages are kept in $WORK/cache, so a rebuild downloads nothing twice.

ROOT_RECIPE=1 # raise when the steps below change what a root contains

root_packages() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$DEVSTACK/packages/$1.txt"; }

root_suite() {
  case $1 in
    host) echo forky ;;
    control | vm) echo trixie ;;
    *) die "no such root: $1 (host, control or vm)" ;;
  esac
}

root_hash() { { echo "$ROOT_RECIPE $(root_suite "$1")"; root_packages "$1"; } | sha256sum | cut -c1-16; }

root_is_ready() { [ -f "$WORK/roots/$1.stamp" ] && [ "$(cat "$WORK/roots/$1.stamp")" = "$(root_hash "$1")" ]; }

# root_ensure NAME: the root exists and is up to date afterwards.
root_ensure() {
  local name=$1
  root_suite "$name" >/dev/null
  if root_is_ready "$name"; then
    say "$name root: ready ($(root_hash "$name"))"
    return 0
  fi
  machine_tools
  with_lock "root-$name" root_build "$name"
}

root_build() {
  local name=$1 suite root log began=$SECONDS
  if root_is_ready "$name"; then return 0; fi
  [ ! -d "$WORK/roots/$name" ] || [ -z "$(machines)" ] || die "the $name root is out of date and in use: devstack/cloud down --all first"
  suite=$(root_suite "$name")
  root=$WORK/roots/$name.new
  log=$LOGS/root-$name.log
  mkdir -p "$WORK/roots" "$WORK/cache/apt-$suite/partial"
  rm -rf --one-file-system "$root"
  rm -f "$WORK/roots/$name.stamp"

  step "$name root: debootstrap $suite from $MIRROR" "$log"
  debootstrap_into "$suite" "$root" --include=ca-certificates >"$log" 2>&1

  step "$name root: $(root_packages "$name" | wc -l) packages and what they need ($log)" "$log"
  root_prepare "$root" "$suite"
  in_build_namespace bash "$DEVSTACK/lib/root-install.sh" "$root" "$WORK/cache/apt-$suite" "$(root_packages "$name" | tr '\n' ' ')" >>"$log" 2>&1

  rm -rf --one-file-system "$WORK/roots/$name.old"
  [ ! -d "$WORK/roots/$name" ] || mv "$WORK/roots/$name" "$WORK/roots/$name.old"
  mv "$root" "$WORK/roots/$name"
  root_hash "$name" >"$WORK/roots/$name.stamp"
  rm -rf --one-file-system "$WORK/roots/$name.old"
  say "$name root: complete, $(du -sm "$WORK/roots/$name" | cut -f1) MB, $((SECONDS - began)) s"
}

# debootstrap_into SUITE TREE [OPTION...]: a minimal Debian in TREE.
debootstrap_into() {
  local suite=$1 tree=$2
  shift 2
  mkdir -p "$WORK/cache/debootstrap-$suite"
  in_build_namespace debootstrap --variant=minbase "$@" --cache-dir="$WORK/cache/debootstrap-$suite" \
    "$suite" "$tree" "$MIRROR" "$(root_script "$suite")"
}

# debootstrap of an older Debian does not know a newer suite's name; sid's script serves for all.
root_script() {
  local script=/usr/share/debootstrap/scripts/$1
  [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
  echo "$script"
}

# Mounts made while building vanish with this namespace, and so does any daemon that a package starts.
in_build_namespace() {
  unshare -m -p -i --propagation private --fork --kill-child --mount-proc env -i \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root TMPDIR=/tmp \
    ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} ${no_proxy:+no_proxy="$no_proxy"} "$@" </dev/null
}

# Files that must be there before apt runs inside.
root_prepare() {
  local root=$1 suite=$2
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
  chmod 755 "$root/usr/sbin/policy-rc.d"
  mkdir -p "$root/etc/apt/apt.conf.d" "$root/etc/dpkg/dpkg.cfg.d"
  cat >"$root/etc/apt/apt.conf.d/90devstack" <<EOF
APT::Install-Recommends "false";
APT::Keep-Downloaded-Packages "true";
Binary::apt-get::APT::Keep-Downloaded-Packages "true";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
DPkg::Use-Pty "false";
EOF
  # How this machine fetches (proxies, acceptance of old Release files) holds for the root as well.
  apt-config dump | grep -E '^Acquire::(Check-(Valid-Until|Date)|https?::.*[Pp]roxy.*) ' >>"$root/etc/apt/apt.conf.d/90devstack" || true
  rm -f "$root/etc/apt/apt.conf.d/docker-clean"
  printf 'force-unsafe-io\nforce-confold\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/doc/*\npath-exclude=/usr/share/locale/*\n' \
    >"$root/etc/dpkg/dpkg.cfg.d/devstack"
  local line="deb $MIRROR $suite main"
  case $suite in
    bookworm | trixie) line+=$'\n'"deb $MIRROR $suite-updates main"$'\n'"deb $SECURITY_MIRROR $suite-security main" ;; # released
    forky) line+=$'\n'"deb $MIRROR trixie main" ;; # for what is asked of it, as PACKAGE/trixie: forky's versions are newer
  esac
  echo "$line" >"$root/etc/apt/sources.list"
  rm -f "$root"/etc/apt/sources.list.d/*
}
