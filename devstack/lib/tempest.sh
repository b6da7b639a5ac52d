# shellcheck shell=bash
# tempest.sh: OpenStack's own test suite, Debian's package, against the running cloud: docs/tempest.md.

TEMPEST_FOLDER=/var/lib/devstack/tempest # in ctl; gone with the next fresh `up`

# tempest up | tempest [--list] [--workers N] REGEX...: tests whose names match any of the expressions.
cmd_tempest() {
  local workers=2 list=
  case ${1:-} in
    up)
      tempest_up
      return
      ;;
    '') die "usage: cloud tempest up | cloud tempest [--list] [--workers N] REGEX..." ;;
  esac
  while [[ ${1:-} == -* ]]; do
    case $1 in
      --list) list=1 ;;
      --workers)
        workers=$2
        shift
        ;;
      *) die "usage: cloud tempest up | cloud tempest [--list] [--workers N] REGEX..." ;;
    esac
    shift
  done
  [ $# -gt 0 ] || die "tempest: which tests? (devstack/cloud tempest --list compute)"
  secrets_load
  ns_need ctl
  tempest_conf
  QUIET_EXIT=1
  if [ -n "$list" ]; then
    tempest_run --list-tests --regex "$*"
  else
    tempest_run --concurrency "$workers" --regex "$*"
  fi
}

# The cloud with Haulier on both hosts, known to Nova.
tempest_up() {
  local name since=$EPOCHSECONDS
  with_lock up cmd_up
  for name in "${CLOUD_HOSTS[@]}"; do with_lock "haulier-$name" haulier_start "$name"; done
  wait_services 120 "$((since - 60))" "${CLOUD_HOSTS[@]/#/nova-compute:}"
  wait_for 90 "compute nodes of ${CLOUD_HOSTS[*]}" sql_count "select count(*) from nova_cell1.compute_nodes where host in ('host1', 'host2')" 2
  cmd_discover
}

tempest_conf() {
  step "tempest: configuration" "$LOGS/tempest-conf.log"
  client_env admin
  # shellcheck disable=SC2016 # expanded inside
  ctl_run sh -c 'umask 077; mkdir -p "$1"; exec python3 /opt/haulier/devstack/lib/tempest-conf.py /opt/haulier/devstack/tempest.conf "$1" >"$1/tempest.conf"' \
    sh "$TEMPEST_FOLDER" 2>"$STEP_LOG"
}

# Tempest makes its users, projects and networks itself; it is given no OS_* variables.
tempest_run() {
  step "tempest: ${*: -1}"
  CTL_ENV=(PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore)
  # shellcheck disable=SC2016 # expanded inside
  ctl_run env -C "$TEMPEST_FOLDER" sh -c '[ -d .stestr ] || stestr -q init; exec tempest run --config-file tempest.conf --exclude-list /opt/haulier/devstack/tempest-exclude.txt "$@"' sh "$@"
}
