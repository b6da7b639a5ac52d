# shellcheck shell=bash
# client.sh: the operators' commands on the control plane.

# client_env USER: sets CTL_ENV for the openstack client.
client_env() {
  local password project
  case $1 in
    admin) password=$PW_ADMIN project=admin ;;
    demo) password=$PW_DEMO project=demo ;;
    *) die "--as knows admin and demo, not '$1'" ;;
  esac
  CTL_ENV=(OS_AUTH_URL="http://$CTL_IP:5000/v3" OS_USERNAME="$1" OS_PASSWORD="$password" OS_PROJECT_NAME="$project"
    OS_USER_DOMAIN_NAME=Default OS_PROJECT_DOMAIN_NAME=Default OS_IDENTITY_API_VERSION=3 OS_REGION_NAME=RegionOne
    PYTHONWARNINGS=ignore)
}

cmd_openstack() {
  local user=admin
  if [ "${1:-}" = --as ]; then
    user=$2
    shift 2
  fi
  secrets_load
  client_env "$user"
  QUIET_EXIT=1
  ctl_run openstack "$@"
}

cmd_nova_manage() {
  QUIET_EXIT=1
  ctl_run nova-manage "$@"
}

cmd_discover() {
  step "discover: mapping new compute hosts to cell1"
  ctl_run nova-manage cell_v2 discover_hosts --by-service
}

# ctl [--as demo] COMMAND...: any command in the control plane's namespaces, with the administrator's (or demo's) credentials.
cmd_ctl() {
  local user=admin
  if [ "${1:-}" = --as ]; then
    user=$2
    shift 2
  fi
  secrets_load
  client_env "$user"
  QUIET_EXIT=1
  ctl_run "$@"
}

# seed catalog|objects
seed() {
  step "seed: $1" "$LOGS/seed-$1.log"
  (
    client_env admin
    CTL_ENV+=(SERVICE_PASSWORD="$PW_SERVICE" DEMO_PASSWORD="$PW_DEMO" CTL_IP="$CTL_IP" IMAGE=/tmp/busybox.tar.gz)
    ctl_run sh -c 'cat >/tmp/busybox.tar.gz' <"$WORK/image/busybox.tar.gz"
    ctl_run python3 /opt/haulier/devstack/lib/seed.py "$1"
  ) >"$STEP_LOG" 2>&1
}

# sql_count QUERY EXPECTED
sql_count() { [ "$(ctl_run mariadb -N -e "$1")" = "$2" ]; }

# wait_agents SECONDS SINCE BINARY HOST...: until neutron has heard from that agent of all these hosts since SINCE (Unix time).
wait_agents() {
  local since=$2 limit=$1 binary=$3
  shift 3
  local quoted STEP_LOG=
  quoted=$(printf "'%s'," "$@")
  wait_for "$limit" "$binary of $* (logs: $LOGS/*-agent.neutron-*.log)" sql_count \
    "select count(*) from neutron.agents where heartbeat_timestamp >= from_unixtime($since) and \`binary\`='$binary' and host in (${quoted%,})" $#
  say "$binary of $*: alive"
}

# wait_services SECONDS SINCE BINARY:HOST...
wait_services() {
  local since=$2 limit=$1 pair
  shift 2
  for pair in "$@"; do
    STEP_LOG=
    wait_for "$limit" "${pair%:*} of ${pair#*:}" sql_count \
      "select count(*) from nova_cell1.services where \`binary\`='${pair%:*}' and host='${pair#*:}' and deleted=0
       and coalesce(last_seen_up, created_at) >= from_unixtime($since)" 1
  done
  say "nova services $*: up"
}
