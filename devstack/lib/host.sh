# shellcheck shell=bash
# host.sh: Haulier hosts: `host up`, `host down`, `exec`.

host_check_name() {
  [[ $1 =~ ^[a-z][a-z0-9-]{0,14}$ ]] || die "bad host name '$1' (a-z, 0-9, -; at most 15 letters)"
  [[ $1 != fabric && $1 != ctl ]] || die "'$1' is a name of the devstack itself"
}

cmd_host() {
  local verb=${1:-} name=${2:-}
  [ -n "$name" ] || die "usage: cloud host up|down|wipe NAME"
  host_check_name "$name"
  case $verb in
    up)
      root_ensure host
      with_lock "host-$name" host_up "$name"
      ;;
    down)
      host_down "$name"
      pipe_size_restore
      ;;
    wipe)
      host_down "$name"
      host_wipe "$name"
      pipe_size_restore
      ;;
    *) die "usage: cloud host up|down|wipe NAME" ;;
  esac
}

host_up() {
  local name=$1
  if ns_is_up "$name"; then
    say "host $name: is up (pid $(ns_pid "$name"))"
    return 0
  fi
  step "host $name: up"
  pipe_size_note
  cgroup_remove "$name" # of an earlier run that ended uncleanly
  cgroup_make "$name"
  (
    cgroup_join "$name"
    ns_up "$name" "$DEVSTACK/lib/host-init.sh" "$name"
  )
}

host_down() {
  step "host $1: down"
  ns_down "$1"
  rm -f "$WORK/hosts/$1/haulier.pid"
}

# criu's page server needs larger pipes; that setting is the machine's and no namespace's, so it is put back when the
# last host goes.
pipe_size_note() { [ -e "$WORK/pipe-max-size" ] || cat /proc/sys/fs/pipe-max-size >"$WORK/pipe-max-size"; }
pipe_size_restore() {
  [ -z "$(machines)" ] && [ -s "$WORK/pipe-max-size" ] || return 0
  cat "$WORK/pipe-max-size" >/proc/sys/fs/pipe-max-size || true
  rm -f "$WORK/pipe-max-size"
}

# What the host had written is thrown away: its root's upper layer and /var/lib/nova.
host_wipe() { rm -rf --one-file-system "$WORK/hosts/${1:?}"; }

# Sets ENTER_ENV: the environment of commands in a host; nothing else of the caller's comes along.
host_env() {
  local var registry=${npm_config_registry:-}
  ENTER_ENV=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}"
    NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt npm_config_cache=/var/cache/npm npm_config_update_notifier=false
    npm_config_fund=false npm_config_audit=false)
  while read -r var; do
    ENTER_ENV+=("$var=${!var}")
  done < <(compgen -e | grep -E '^(CI|NODE_OPTIONS|NODE_TEST_CONTEXT|HAULIER_.*|npm_config_.*|NPM_CONFIG_.*|https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY|FORCE_COLOR|NO_COLOR)$' || true)
  [ -n "$registry" ] || ! command -v npm >/dev/null || {
    # npm takes 0.3 s to say it; remembered for a day.
    local file=$WORK/npm-registry
    [ -n "$(find "$file" -mtime 0 2>/dev/null)" ] || npm config get registry >"$file" 2>/dev/null || true
    registry=$(cat "$file" 2>/dev/null || true)
    [ -z "$registry" ] || ENTER_ENV+=("npm_config_registry=$registry")
  }
}

# exec [--machine-net] [--cwd DIR] NAME COMMAND...: the process is replaced, so signals and the exit status are the
# command's own; when this process is killed, so is the command.
cmd_exec() {
  local net=-n cwd=/opt/haulier name pid
  while [[ ${1:-} == -* ]]; do
    case $1 in
      --machine-net) net= ;; # the machine's network: for npm and the like
      --cwd)
        cwd=$2
        shift
        ;;
      *) die "usage: cloud exec [--machine-net] [--cwd DIR] NAME COMMAND..." ;;
    esac
    shift
  done
  [ $# -ge 2 ] || die "usage: cloud exec [--machine-net] [--cwd DIR] NAME COMMAND..."
  name=$1
  shift
  pid=$(ns_pid "$name") || die "'$name' is not up (devstack/cloud status)"
  host_env
  cgroup_join "$name"
  # shellcheck disable=SC2086 # $net is one flag or none
  exec nsenter -t "$pid" -m $net -p -u -i -- setpriv --pdeathsig KILL -- env -i -C "$cwd" "${ENTER_ENV[@]}" "$@"
}
