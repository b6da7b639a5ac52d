# shellcheck shell=bash
# up.sh: `cloud up`, `down`, `purge`, `status`: the whole of it.

CLOUD_HOSTS=(host1 host2)

cmd_up() {
  local since=$EPOCHSECONDS fresh=
  roots_ensure
  secrets_load
  image_build
  control_snapshot_check
  if ! ns_is_up ctl || [ ! -e "$WORK/ctl/ready" ]; then
    fresh=1
    up_clear
    fabric_up
    control_namespace
  fi
  fabric_up
  control_base_start
  local name
  for name in "${CLOUD_HOSTS[@]}"; do cloud_host_up "$name"; done
  control_base_wait
  if [ -n "$fresh" ] && [ ! -d "$WORK/ctl/snapshot" ]; then up_first; else control_services_start; fi
  queue_ready neutron-rpc-server neutron q-plugin
  for name in "${CLOUD_HOSTS[@]}"; do agent_start "$name"; done
  control_services_wait
  if [ -n "$fresh" ] && [ ! -d "$WORK/ctl/snapshot" ]; then
    seed objects
    control_snapshot
  fi
  [ -n "$fresh" ] || since=$((EPOCHSECONDS - 60)) # they report every 10 and 30 s
  wait_services 120 "$since" nova-conductor:ctl nova-scheduler:ctl
  wait_agents 180 "$since" neutron-openvswitch-agent "${CLOUD_HOSTS[@]}"
  touch "$WORK/ctl/ready"
  say "up: devstack/cloud openstack ..., devstack/cloud haulier start ${CLOUD_HOSTS[0]}"
}

# The two roots are independent, and a root alone keeps only one core busy.
roots_ensure() {
  if root_is_ready host && root_is_ready control; then return 0; fi
  machine_tools
  local host control failed=
  root_ensure host &
  host=$!
  root_ensure control &
  control=$!
  wait "$host" || failed=host
  wait "$control" || failed=control
  [ -z "$failed" ] || {
    tail -n 15 "$LOGS/root-$failed.log" >&2
    die "the $failed root could not be made (log: $LOGS/root-$failed.log)"
  }
}

# What an earlier run left: a fresh control plane knows none of the old servers.
up_clear() {
  local name
  rm -f "$WORK/ctl/ready"
  cloud_down
  for name in stock1 "${CLOUD_HOSTS[@]}"; do host_wipe "$name"; done
}

cloud_host_up() {
  host_up "$1"
  fabric_join "$1"
  ovs_start "$1"
  haulier_config "$1"
  agent_root_up "$1"
}

up_first() {
  control_databases
  uwsgi_start keystone keystone/keystone-uwsgi.ini 5000
  svc_wait 120 ctl keystone ctl_run curl -m 5 -sf -o /dev/null http://127.0.0.1:5000/v3
  seed catalog
  control_services_start
}

# Names of all machines that are up or have left something.
machines() {
  local file
  for file in "$WORK"/ns/*; do
    [[ ! -e $file || $file == *-agent ]] || echo "${file##*/}"
  done
}

# Ends machines: by default the cloud's own. Services get no time: nothing of them is kept.
cloud_down() {
  local name
  rm -f "$WORK/ctl/ready"
  [ $# -gt 0 ] || set -- ctl stock1 "${CLOUD_HOSTS[@]}" fabric
  for name in "$@"; do
    if [ -e "$(ns_file "$name")" ] || cgroup_exists "$name"; then
      step "down: $name"
      ns_down "$name"
    fi
  done
}

# down [--all]: the cloud and the standalone host; with --all also every host that was made by `host up`.
cmd_down() {
  local name
  cloud_down
  standalone_down
  for name in $(machines); do
    if [ "${1:-}" = --all ]; then cloud_down "$name"; else say "still up, as it is not the cloud's (down --all ends it): $name"; fi
  done
  pipe_size_restore
  say "down: done"
}

cmd_purge() {
  [ ! -d "$WORK" ] || cmd_down --all
  step "purge: removing $WORK"
  case $WORK in / | /home | /root | /usr | "$PROJECT") die "refusing to remove $WORK" ;; esac
  rm -rf --one-file-system "$WORK"
}

cmd_status() {
  local root file name pid state
  for root in host control vm; do
    if root_is_ready "$root"; then state="ready ($(root_hash "$root"))"; else state="not made"; fi
    printf 'root %-8s %s\n' "$root" "$state"
  done
  for file in "$WORK"/ns/*; do
    [ -e "$file" ] || continue
    name=${file##*/}
    if pid=$(ns_pid "$name"); then state="up (pid $pid)"; else state="dead (left by an unclean end; up or down clears it)"; fi
    printf 'namespace %-14s %s\n' "$name" "$state"
  done
  for file in "$WORK"/svc/*; do
    [ -e "$file" ] || continue
    name=${file##*/}
    if pid=$(pid_alive "$file"); then state="runs (pid $pid)"; else state=ended; fi
    printf 'service %-32s %s\n' "${name/./ }" "$state"
  done
}
