# shellcheck shell=bash
# standalone.sh: one host without any cloud: RabbitMQ in the host itself, loopback and a Linux bridge. The conductor's
# part is played by Haulier's own program (dist/devstack/standalone/main.js), run as a service of the host.

STANDALONE_MAIN=${HAULIER_DIST:-dist}/devstack/standalone/main.js

cmd_standalone() {
  case ${1:-} in
    up) with_lock standalone standalone_up ;;
    down)
      standalone_down
      pipe_size_restore
      ;;
    log) cat "$(svc_log solo standalone)" ;;
    *) die "usage: cloud standalone up|down|log" ;;
  esac
}

standalone_up() {
  root_ensure host
  secrets_load
  image_build
  if ! ns_is_up solo; then
    ns_down solo
    host_wipe solo
    rabbit_files "$WORK/hosts/solo/upper/etc/rabbitmq"
    host_up solo
    ns_net solo ip -batch - <<EOF
link add br-solo address 02:00:00:73:00:01 type bridge forward_delay 0 mcast_snooping 0
addr add 10.73.0.1/24 dev br-solo
link set br-solo up
EOF
  fi
  step "solo: rabbitmq"
  rabbit_start solo
  standalone_config | put_in solo /etc/nova/nova.conf
  rabbit_wait solo
  if [ -e "$PROJECT/$STANDALONE_MAIN" ]; then
    step "solo: conductor of the standalone mode"
    svc_start solo standalone node "/opt/haulier/$STANDALONE_MAIN" --config-file /etc/nova/nova.conf
    svc_wait 30 solo standalone port_open solo 8774
  else
    say "solo: $STANDALONE_MAIN is not there, so no conductor answers"
  fi
  say "standalone: up; next: devstack/cloud haulier start solo"
}

standalone_down() { [ ! -e "$(ns_file solo)" ] || cloud_down solo; }

standalone_config() {
  cat <<EOF
[DEFAULT]
host = solo
my_ip = 127.0.0.1
state_path = /var/lib/nova
instances_path = \$state_path/instances
transport_url = $(rabbit_url nova 127.0.0.1)

[service_user]
send_service_user_token = true
$(standalone_auth nova)

[placement]
$(standalone_auth placement)

[neutron]
$(standalone_auth neutron)

[glance]
region_name = RegionOne

[vnc]
enabled = false

[oslo_concurrency]
lock_path = /run/lock/nova

[haulier]
cgroup_parent = /$CGROUP/solo
EOF
}

standalone_auth() { auth "$1" | sed "s/$CTL_IP/127.0.0.1/"; }
