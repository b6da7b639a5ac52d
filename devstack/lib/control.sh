# shellcheck shell=bash
# control.sh: the control plane: its namespaces, its base services (MariaDB, RabbitMQ, memcached) and its OpenStack
# services, in the order in which they need each other.

NEUTRON_CONF=(--config-file /etc/neutron/neutron.conf --config-file /etc/neutron/plugins/ml2/ml2_conf.ini)

# ctl_run COMMAND...: runs a command in ctl.
ctl_run() {
  local pid
  pid=$(ns_pid ctl) || die "the control plane is not up (devstack/cloud up)"
  (
    cgroup_join ctl
    exec nsenter -t "$pid" -m -n -p -u -i -- setpriv --pdeathsig KILL -- env -i \
      PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "${CTL_ENV[@]}" "$@"
  )
}
CTL_ENV=(PYTHONUNBUFFERED=1)

control_namespace() {
  step "ctl: configuration and namespace"
  rm -rf --one-file-system "$WORK/ctl/upper" "$WORK/ctl/data"
  mkdir -p "$WORK/ctl/upper" "$WORK/ctl/data"
  config_all
  if [ -d "$WORK/ctl/snapshot" ]; then
    cp -a "$WORK/ctl/snapshot/." "$WORK/ctl/data/"
  fi
  cgroup_make ctl
  (
    cgroup_join ctl
    ns_up ctl "$DEVSTACK/lib/ctl-init.sh"
  )
  fabric_join ctl
  ns_net ctl ip addr add 10.71.0.2/24 dev data0
  ns_net ctl ip addr add fd71::2/64 dev data0 nodad
  ctl_run sh -c 'cd /var/lib/devstack; mkdir -p glance nova keystone /run/mysqld /run/lock/nova
    chown mysql:mysql /run/mysqld
    [ -d mysql ] || cp -a /var/lib/mysql mysql'
}

# MariaDB, RabbitMQ and memcached; returns when they have been started, not when they answer.
control_base_start() {
  step "ctl: mariadb, rabbitmq, memcached"
  svc_start ctl mariadb mariadbd --user=mysql
  svc_start ctl memcached memcached -u memcache -l 127.0.0.1 -m 64
  rabbit_start ctl
}

control_base_wait() {
  svc_wait 120 ctl mariadb ctl_run mariadb -e 'select 1'
  say "ctl: mariadb answers"
}

uwsgi_start() {
  svc_start ctl "$1" /usr/bin/uwsgi_python3 --http-socket "0.0.0.0:$3" --ini "/etc/$2" "${@:4}"
}

# None of them needs another to start, only MariaDB, and those that start last RabbitMQ.
control_services_start() {
  step "ctl: OpenStack services"
  uwsgi_start keystone keystone/keystone-uwsgi.ini 5000
  uwsgi_start neutron-api neutron/neutron-api-uwsgi.ini 9696 --pyargv "${NEUTRON_CONF[*]}"
  rabbit_wait ctl
  svc_start ctl neutron-rpc-server neutron-rpc-server "${NEUTRON_CONF[@]}"
  svc_start ctl nova-conductor nova-conductor
  uwsgi_start nova-api nova/nova-api-uwsgi.ini 8774
  svc_start ctl nova-scheduler nova-scheduler
  uwsgi_start placement placement/placement-api-uwsgi.ini 8778
  svc_start ctl glance-api glance-api --config-file /etc/glance/glance-api.conf
  svc_start ctl nova-serialproxy nova-serialproxy
}

# queue_ready SERVICE VHOST QUEUE: that service of ctl takes RPC calls.
queue_ready() {
  svc_need ctl "$1"
  step "ctl: $1 takes calls" "$(svc_log ctl "$1")"
  (
    CTL_ENV=("RABBIT=devstack:$PW_RABBIT")
    ctl_run python3 /opt/haulier/devstack/lib/queue-ready.py 120 "$2" "$3"
  )
}

control_services_wait() {
  local pair
  for pair in keystone:5000 placement:8778 glance-api:9292 neutron-api:9696 nova-api:8774; do
    svc_wait 180 ctl "${pair%%:*}" ctl_run curl -m 5 -s -o /dev/null "http://127.0.0.1:${pair##*:}/"
    say "ctl: ${pair%%:*} answers"
  done
}
