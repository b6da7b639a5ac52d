# shellcheck shell=bash
# namespace.sh: a "machine" is a set of namespaces held by an init process of its own (tini, process 1 of its PID
# namespace). Killing that init ends every process inside; the mounts are private and vanish with the last process.
# Known by a pid file "PID STARTTIME" in $WORK/ns/NAME, so that a reused pid is never mistaken for ours.

ns_file() { echo "$WORK/ns/$1"; }

# Start time of a process in clock ticks: field 22 of stat, counted behind the command's name.
proc_start() {
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  read -ra stat <<<"${stat##*) }"
  echo "${stat[19]}"
}

# pid_alive FILE: prints the pid of a pid file whose process still lives.
pid_alive() {
  local pid start
  { read -r pid start <"$1"; } 2>/dev/null || return 1
  [ "$(proc_start "$pid")" = "$start" ] || return 1
  echo "$pid"
}

ns_pid() { pid_alive "$(ns_file "$1")"; }
ns_is_up() { ns_pid "$1" >/dev/null; }
ns_need() { ns_is_up "$1" || die "'$1' is not up"; }

# ns_up NAME INIT-SCRIPT ARGS...: starts the namespaces; the script (see *-init.sh) mounts, then becomes the init.
# NS_ENTER, when set, is the command that makes the namespaces.
NS_ENTER=()
ns_up() {
  local name=$1 log=$LOGS/ns-$1.log enter=("${NS_ENTER[@]}")
  shift
  [ ${#enter[@]} -gt 0 ] || enter=(unshare -m -n -p -u -i --propagation slave --fork --kill-child)
  mkdir -p "$WORK/ns"
  rm -f "$(ns_file "$name")"
  detached "$log" "${enter[@]}" env NS_FILE="$(ns_file "$name")" WORK="$WORK" PROJECT="$PROJECT" bash "$@"
  STEP_LOG=$log wait_for 20 "namespace $name" test -s "$(ns_file "$name")"
  ns_is_up "$name" || {
    STEP_LOG=$log
    tail -n 5 "$log" >&2
    die "namespace $name ended at once (log: $log)"
  }
}

# detached LOG COMMAND...: a background process that holds neither our terminal, our output nor our locks.
detached() {
  local log=$1
  shift
  (
    [ -n "${SVC_APPEND:-}" ] || : >"$log"
    exec </dev/null >>"$log" 2>&1
    close_inherited
    exec setsid "$@"
  ) &
}

# Closes every descriptor above 2.
close_inherited() {
  local fd
  for fd in /proc/"$BASHPID"/fd/*; do
    fd=${fd##*/}
    [ "$fd" -le 2 ] || [ "$fd" = 255 ] || eval "exec $fd>&-"
  done
}

# ns_in NAME FLAGS... -- COMMAND: runs a command in some namespaces of NAME, environment as it is.
ns_in() {
  local pid flags=()
  pid=$(ns_pid "$1") || die "'$1' is not up"
  shift
  while [ "$1" != -- ]; do
    flags+=("$1")
    shift
  done
  shift
  nsenter -t "$pid" "${flags[@]}" -- "$@"
}

# ns_net NAME COMMAND: the machine's programs in the network namespace of NAME.
ns_net() {
  local name=$1
  shift
  ns_in "$name" -n -- "$@"
}

# ns_down NAME: ends it with all processes in it. Frozen groups are thawed first: a frozen task of a v1 freezer does
# not die, and the init of a PID namespace waits for all its members.
ns_down() {
  local name=$1 pid try
  if pid=$(ns_pid "$name"); then
    cgroup_note_strays "$name" "$pid"
    cgroup_thaw "$name"
    kill -TERM "$pid" 2>/dev/null || true
    kill -KILL "$pid" 2>/dev/null || true
    for try in {1..100}; do
      [ -e "/proc/$pid" ] || break
      [ $((try % 10)) != 0 ] || cgroup_thaw "$name"
      sleep 0.05
    done
    [ ! -e "/proc/$pid" ] || say "warning: init of '$name' (pid $pid) is still there"
  fi
  rm -f "$(ns_file "$name")" "$(ns_file "$name-agent")" "$WORK/svc/$name".* "$WORK/svc/$name-agent".*
  cgroup_remove "$name"
}
