# shellcheck shell=bash
# service.sh: long-running programs in the namespaces. Each has a pid file "PID STARTTIME" and a log of its own.

svc_file() { echo "$WORK/svc/$1.$2"; }
svc_log() { echo "$LOGS/$1.$2.log"; }
svc_pid() { pid_alive "$(svc_file "$1" "$2")"; }

# svc_start NS NAME COMMAND...: starts it unless it runs. SVC_ENV: extra environment. The log starts anew.
SVC_ENV=()
svc_start() {
  local ns=$1 name=$2 holder group=${1%-agent}
  shift 2
  ! svc_pid "$ns" "$name" >/dev/null || return 0
  holder=$(ns_pid "$ns") || die "cannot start $name: '$ns' is not up"
  mkdir -p "$WORK/svc"
  rm -f "$(svc_file "$ns" "$name")"
  (
    cgroup_join "$group"
    detached "$(svc_log "$ns" "$name")" nsenter -t "$holder" -n -p -u -i -- bash "$DEVSTACK/lib/service-init.sh" \
      "$(svc_file "$ns" "$name")" "$holder" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
      HOME=/root LANG=C.UTF-8 PYTHONUNBUFFERED=1 "${SVC_ENV[@]}" "$@"
  )
}

# svc_stop NS NAME SIGNAL [SECONDS]: signals it and waits; SIGKILL after SECONDS.
svc_stop() {
  local pid try
  pid=$(svc_pid "$1" "$2") || return 0
  kill -"$3" "$pid" 2>/dev/null || true
  for ((try = 0; try < ${4:-10} * 20; try++)); do
    svc_pid "$1" "$2" >/dev/null || return 0
    sleep 0.05
  done
  say "$2 of $1 did not end after ${4:-10} s: SIGKILL"
  kill -KILL "$pid" 2>/dev/null || true
  for ((try = 0; try < 100; try++)); do
    svc_pid "$1" "$2" >/dev/null || return 0
    sleep 0.05
  done
  die "$2 of $1 (pid $pid) does not end"
}

# svc_need NS NAME: dies with the end of its log when a service has ended.
svc_need() {
  local try
  for try in {1..20}; do
    svc_pid "$1" "$2" >/dev/null && return 0
    sleep 0.05
  done
  tail -n 15 "$(svc_log "$1" "$2")" >&2 || true
  die "$2 of $1 is not running (try $try; log: $(svc_log "$1" "$2"))"
}

# svc_wait SECONDS NS NAME COMMAND...: until COMMAND succeeds, and no longer than the service lives.
svc_wait() {
  local end=$((SECONDS + $1)) ns=$2 name=$3
  shift 3
  svc_need "$ns" "$name"
  until "$@" >/dev/null 2>&1; do
    svc_need "$ns" "$name"
    [ "$SECONDS" -lt "$end" ] || {
      tail -n 15 "$(svc_log "$ns" "$name")" >&2 || true
      die "$name of $ns does not answer (log: $(svc_log "$ns" "$name"))"
    }
    sleep 0.1
  done
}

# port_open NS PORT [ADDRESS]
port_open() { ns_net "$1" bash -c "exec 3<>/dev/tcp/${3:-127.0.0.1}/$2"; }
