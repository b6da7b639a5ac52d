# shellcheck shell=bash
# base.sh: where things lie, how the command speaks, how it fails.
# Sourced first by devstack/cloud; every other file of lib/ builds on it.

PROJECT=$(cd "$DEVSTACK/.." && pwd)
WORK=${HAULIER_DEVSTACK_DIR:-$PROJECT/.devstack}
LOGS=$WORK/logs
MIRROR=${HAULIER_DEBIAN_MIRROR:-http://deb.debian.org/debian}
SECURITY_MIRROR=${HAULIER_DEBIAN_SECURITY_MIRROR:-http://deb.debian.org/debian-security}
STEP=start
STEP_LOG=

# Time since the start of the command, as "12.3".
elapsed() {
  local now=${EPOCHREALTIME/[.,]/} began=${BEGAN/[.,]/}
  local tenths=$(((now - began) / 100000))
  printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

# say TEXT: one line of progress, on standard error so that output of commands stays clean.
say() { printf '[%6ss] %s\n' "$(elapsed)" "$*" >&2; }

# step NAME [LOGFILE]: names what is being done, for progress and for the message when it fails.
step() {
  STEP=$1
  STEP_LOG=${2:-}
  say "$STEP"
}

# die TEXT: ends the command with a clear message.
die() {
  say "FAILED: $*"
  DIED=1
  exit 1
}

# Trap for every command that fails unseen: the step, the place, the end of its log.
on_exit() {
  local status=$?
  [ "$status" = 0 ] || [ -n "${DIED:-}" ] || [ -n "${QUIET_EXIT:-}" ] || {
    say "FAILED (status $status) in step: $STEP"
    if [ -n "$STEP_LOG" ] && [ -s "$STEP_LOG" ]; then
      say "last lines of $STEP_LOG:"
      tail -n 15 "$STEP_LOG" >&2
    fi
  }
  return 0
}

# wait_for SECONDS WHAT COMMAND...: repeats COMMAND until it succeeds; dies after SECONDS.
wait_for() {
  local limit=$1 what=$2 pause=0.1
  shift 2
  local end=$((SECONDS + limit))
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || die "$what: not ready after $limit s${STEP_LOG:+ (log: $STEP_LOG)}"
    sleep "$pause"
  done
}

# with_lock NAME COMMAND...: only one at a time of each NAME; the lock does not reach background processes
# because every long-lived process is started by `detached`, which closes it.
with_lock() {
  local name=$1 LOCK_FD
  shift
  mkdir -p "$WORK/locks"
  exec {LOCK_FD}>"$WORK/locks/$name"
  flock -n "$LOCK_FD" || {
    say "waiting for another devstack/cloud that holds the lock '$name'"
    flock "$LOCK_FD"
  }
  "$@"
  exec {LOCK_FD}>&-
}
