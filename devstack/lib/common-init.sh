# shellcheck shell=bash
# common-init.sh: for the *-init.sh scripts, which run as first process of new namespaces: putting a root together and
# pivoting into it. Environment: NS_FILE (pid file to write), WORK, PROJECT.

# Our pid and start time as the machine knows them: the /proc seen at the beginning is still the machine's.
note_self() {
  local stat fields
  read -r stat </proc/self/stat
  read -ra fields <<<"${stat##*) }"
  SELF="${stat%% *} ${fields[19]}"
}

# root_mount LOWER DIR: an overlay of roots/LOWER with what is written in DIR/upper, mounted at DIR/root (sets ROOT).
root_mount() {
  local lower=$WORK/roots/$1 dir=$2
  ROOT=$dir/root
  mkdir -p "$ROOT" "$dir/upper" "$dir/work"
  rm -rf "$dir/work/work"
  mount -t overlay -o "lowerdir=$lower,upperdir=$dir/upper,workdir=$dir/work" "${dir##*/}" "$ROOT"
  kernel_mounts
}

# sysfs is mounted anew so that it shows this network namespace; the machine's cgroups stay visible in it.
kernel_mounts() {
  mount -t proc -o nosuid,nodev,noexec proc "$ROOT/proc"
  mount -t sysfs -o nosuid,nodev,noexec sysfs "$ROOT/sys"
  if mountpoint -q /sys/fs/cgroup; then
    mount --rbind /sys/fs/cgroup "$ROOT/sys/fs/cgroup"
    mount --make-rslave "$ROOT/sys/fs/cgroup"
  else
    mount -t cgroup2 cgroup2 "$ROOT/sys/fs/cgroup"
  fi
  mount -t devtmpfs -o mode=755,nosuid dev "$ROOT/dev" 2>/dev/null || mount --bind /dev "$ROOT/dev"
  mkdir -p "$ROOT/dev/pts" "$ROOT/dev/shm"
  mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666 devpts "$ROOT/dev/pts"
  mount --bind "$ROOT/dev/pts/ptmx" "$ROOT/dev/ptmx"
  mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$ROOT/dev/shm"
  mount -t tmpfs -o mode=755 tmpfs "$ROOT/run"
  mount -t tmpfs -o mode=1777 tmpfs "$ROOT/tmp"
  mkdir -m 1777 "$ROOT/run/lock"
  mkdir -p "$ROOT/run/netns"
}

# bind_in SOURCE PATH: a folder of the machine at PATH of the new root.
bind_in() {
  mkdir -p "$1" "$ROOT$2"
  mount --bind "$1" "$ROOT$2"
}

# names_in NAME: host name, name resolution and the machine's certificate authorities.
names_in() {
  cp /etc/resolv.conf "$ROOT/etc/resolv.conf"
  [ ! -s /etc/ssl/certs/ca-certificates.crt ] || cp /etc/ssl/certs/ca-certificates.crt "$ROOT/etc/ssl/certs/ca-certificates.crt"
  printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 %s\n10.70.0.10 ctl\n10.70.0.11 host1\n10.70.0.12 host2\n10.70.0.13 stock1\n' "$1" >"$ROOT/etc/hosts"
  echo "$1" >"$ROOT/etc/hostname"
  hostname "$1"
}

# root_enter: the root becomes "/", the machine's is detached. The pid file lies outside, so it is opened before.
root_enter() {
  exec 9>"$NS_FILE"
  cd "$ROOT" || exit 1
  pivot_root . .
  umount -l .
  cd / || exit 1
  ip link set lo up
  knob net/ipv4/ip_forward 1
  knob net/ipv6/conf/all/accept_dad 0
  knob net/ipv6/conf/default/accept_dad 0
}

knob() { { echo "$2" >"/proc/sys/$1"; } 2>/dev/null || true; }

# become_init COMMAND: says that all is ready and becomes a proper init that reaps orphans.
become_init() {
  echo "$SELF" >&9
  exec 9>&-
  exec "$@"
}
