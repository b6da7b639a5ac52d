# shellcheck shell=bash
# haulier.sh: the service under test on a host: its nova.conf, and start, stop, kill, log.

# haulier_config NAME: /etc/nova/nova.conf of a host, and its certificates. No [database]: a compute has none.
haulier_config() {
  local name=$1
  certs_host "$name"
  haulier_config_text "$name" | put_in "$name" /etc/nova/nova.conf
  (put_in "$name" /etc/haulier/snapshot.key <"$WORK/snapshot.key") # it execs
}

# put_in NAME PATH: standard input becomes a file (mode 0600) of a host that is up.
put_in() {
  # shellcheck disable=SC2016 # expanded inside
  cmd_exec --cwd / "$1" sh -c 'umask 077; mkdir -p "${1%/*}"; chmod 755 "${1%/*}"; cat >"$1"' sh "$2"
}

haulier_config_text() {
  cat <<EOF
[DEFAULT]
host = $1
my_ip = $(mgmt_ip "$1")
state_path = /var/lib/nova
instances_path = \$state_path/instances
transport_url = $(rabbit_url nova)
vif_plugging_timeout = 60
vif_plugging_is_fatal = true

[service_user]
send_service_user_token = true
$(auth nova)

[keystone_authtoken]
$(auth nova)
www_authenticate_uri = http://$CTL_IP:5000

[placement]
$(auth placement)

[neutron]
$(auth neutron)

[glance]
region_name = RegionOne
api_servers = http://$CTL_IP:9292

[serial_console]
enabled = true
base_url = ws://$CTL_IP:6083/
proxyclient_address = $(mgmt_ip "$1")

[vnc]
enabled = false

[os_vif_ovs]
ovsdb_connection = unix:/run/openvswitch/db.sock

[oslo_concurrency]
lock_path = /run/lock/nova

[haulier]
snapshot_key = /etc/haulier/snapshot.key
cgroup_parent = /$CGROUP/$1
haul_ca = $HAUL_CERTS/ca.pem
haul_cert = $HAUL_CERTS/cert.pem
haul_key = $HAUL_CERTS/key.pem
EOF
}

cmd_haulier() {
  local verb=${1:-} name=${2:-}
  [ -n "$name" ] || die "usage: cloud haulier start|stop|kill|log|status NAME"
  host_check_name "$name"
  case $verb in
    start) with_lock "haulier-$name" haulier_start "$name" "${@:3}" ;;
    stop) svc_stop "$name" haulier TERM 30 ;;
    kill)
      svc_stop "$name" haulier KILL 5
      say "haulier of $name: killed"
      ;;
    log)
      [ "${3:-}" = -f ] && exec tail -n +1 -F "$WORK/hosts/$name/haulier.log"
      cat "$WORK/hosts/$name/haulier.log"
      ;;
    status) svc_pid "$name" haulier || die "haulier of $name is not running" ;;
    *) die "usage: cloud haulier start|stop|kill|log|status NAME" ;;
  esac
}

# haulier_start NAME [MAIN]: appends to the log, so that what was said before a kill stays.
haulier_start() {
  local name=$1 main=${2:-dist/src/main.js} pid log=$WORK/hosts/$1/haulier.log
  ns_need "$name"
  if pid=$(svc_pid "$name" haulier); then
    say "haulier of $name: runs (pid $pid)"
    return 0
  fi
  [ -e "$PROJECT/$main" ] || die "$main is not there: build the project first (npm run build)"
  ln -sfn "$log" "$(svc_log "$name" haulier)"
  echo "--- start $(date -u +%FT%TZ)" >>"$log"
  host_env
  SVC_APPEND=1
  SVC_ENV=("${ENTER_ENV[@]}")
  svc_start "$name" haulier node "/opt/haulier/$main" --config-file /etc/nova/nova.conf
  SVC_ENV=()
  SVC_APPEND=
  svc_need "$name" haulier
  say "haulier of $name: started (pid $(svc_pid "$name" haulier), log $log)"
}
