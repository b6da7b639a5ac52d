# shellcheck shell=bash
# machine.sh: the few tools that the machine itself must have.

# tool -> Debian package
MACHINE_TOOLS="debootstrap:debootstrap ip:iproute2 unshare:util-linux flock:util-linux setpriv:util-linux nsenter:util-linux
mount:mount zstd:zstd gpgv:gpgv sha256sum:coreutils curl:curl"

machine_check() {
  [ "$(id -u)" = 0 ] || die "must run as root (namespaces, mounts and debootstrap need it)"
  [ "$(uname -m)" = x86_64 ] || [ "$(uname -m)" = aarch64 ] || say "untested machine type $(uname -m)"
}

# Installs what is missing, and only that.
machine_tools() {
  local pair missing=()
  for pair in $MACHINE_TOOLS; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
  done
  [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring)
  [ ${#missing[@]} = 0 ] && return 0
  step "machine: apt-get install ${missing[*]}" "$LOGS/machine.log"
  command -v apt-get >/dev/null || die "no apt-get here; install by hand: ${missing[*]}"
  {
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
  } >"$LOGS/machine.log" 2>&1
}
