# shellcheck shell=bash
# control-config.sh: configuration of the control plane's services, written into the upper layer of ctl's root before it
# is mounted. Only what differs from the defaults; one function a project.

# put PATH: standard input becomes a file of ctl, closed to others.
put() {
  local file=$WORK/ctl/upper$1
  mkdir -p "${file%/*}"
  cat >"$file"
  chmod 640 "$file"
}

db_url() { echo "mysql+pymysql://devstack:$PW_DB@127.0.0.1/$1?charset=utf8mb4"; }

# auth USER: the options by which a service user of ours reaches Keystone.
auth() {
  cat <<EOF
auth_type = password
auth_url = http://$CTL_IP:5000/v3
username = $1
password = $PW_SERVICE
project_name = service
user_domain_name = Default
project_domain_name = Default
region_name = RegionOne
EOF
}

# authtoken USER: how an API checks tokens.
authtoken() {
  echo "[keystone_authtoken]"
  auth "$1"
  echo "www_authenticate_uri = http://$CTL_IP:5000"
  echo "memcached_servers = 127.0.0.1:11211"
  echo "service_token_roles_required = true"
  echo "service_token_roles = service"
}

config_all() {
  config_mariadb
  rabbit_files "$WORK/ctl/upper/etc/rabbitmq"
  config_keystone
  config_glance
  config_placement
  config_nova
  config_neutron
  config_uwsgi keystone keystone-uwsgi 8
  config_uwsgi placement placement-api-uwsgi 8
  config_uwsgi nova nova-api-uwsgi 1
  config_uwsgi nova nova-api-metadata-uwsgi 1
  config_uwsgi neutron neutron-api-uwsgi 1
}

# Nothing here needs to survive a power cut: no flushing to disk.
config_mariadb() {
  put /etc/mysql/conf.d/devstack.cnf <<EOF
[mariadbd]
datadir = /var/lib/devstack/mysql
bind-address = 127.0.0.1
max_connections = 2000
skip-name-resolve
skip-log-bin
innodb_flush_log_at_trx_commit = 0
innodb_flush_method = nosync
innodb_doublewrite = 0
innodb_buffer_pool_size = 192M
innodb_log_file_size = 32M
innodb_stats_persistent = 0
performance_schema = off
EOF
  chmod 644 "$WORK/ctl/upper/etc/mysql/conf.d/devstack.cnf"
}

config_keystone() {
  put /etc/keystone/keystone.conf <<EOF
[database]
connection = $(db_url keystone)
[cache]
enabled = true
backend = dogpile.cache.memcached
memcache_servers = 127.0.0.1:11211
[fernet_tokens]
key_repository = /var/lib/devstack/keystone/fernet-keys
[fernet_receipts]
key_repository = /var/lib/devstack/keystone/fernet-keys
[credential]
key_repository = /var/lib/devstack/keystone/credential-keys
[token]
expiration = 86400
EOF
}

config_glance() {
  put /etc/glance/glance-api.conf <<EOF
[DEFAULT]
bind_host = 0.0.0.0
workers = 0
enabled_import_methods = []
[database]
connection = $(db_url glance)
[glance_store]
stores = file
default_store = file
filesystem_store_datadir = /var/lib/devstack/glance
[paste_deploy]
flavor = keystone
[oslo_concurrency]
lock_path = /run/lock/glance
$(authtoken glance)
EOF
}

config_placement() {
  put /etc/placement/placement.conf <<EOF
[placement_database]
connection = $(db_url placement)
[api]
auth_strategy = keystone
$(authtoken placement)
EOF
}

config_nova() {
  put /etc/nova/nova.conf <<EOF
[DEFAULT]
host = ctl
my_ip = $CTL_IP
state_path = /var/lib/devstack/nova
transport_url = $(rabbit_url nova)
osapi_compute_workers = 1
allow_resize_to_same_host = true
[api_database]
connection = $(db_url nova_api)
[database]
connection = $(db_url nova_cell1)
[api]
auth_strategy = keystone
[conductor]
workers = 1
[scheduler]
workers = 1
[filter_scheduler]
enabled_filters = ComputeFilter,ComputeCapabilitiesFilter,ImagePropertiesFilter,ServerGroupAntiAffinityFilter,ServerGroupAffinityFilter,SameHostFilter,DifferentHostFilter
[quota]
instances = 100000
cores = 1000000
ram = 1000000000
server_groups = 10000
server_group_members = 10000
key_pairs = 10000
[vnc]
enabled = false
[serial_console]
enabled = true
serialproxy_host = 0.0.0.0
base_url = ws://$CTL_IP:6083/
[glance]
region_name = RegionOne
[service_user]
send_service_user_token = true
$(auth nova)
[placement]
$(auth placement)
[neutron]
$(auth neutron)
service_metadata_proxy = true
metadata_proxy_shared_secret = $PW_METADATA
[oslo_concurrency]
lock_path = /run/lock/nova
$(authtoken nova)
EOF
}

config_neutron() {
  put /etc/neutron/neutron.conf <<EOF
[DEFAULT]
host = ctl
core_plugin = ml2
service_plugins = router,qos,trunk
auth_strategy = keystone
transport_url = $(rabbit_url neutron)
notify_nova_on_port_status_changes = true
notify_nova_on_port_data_changes = true
rpc_workers = 1
rpc_state_report_workers = 0
[database]
connection = $(db_url neutron)
[nova]
$(auth nova)
[placement]
$(auth placement)
[quotas]
quota_port = -1
quota_network = -1
quota_subnet = -1
quota_security_group = -1
quota_security_group_rule = -1
[oslo_concurrency]
lock_path = /run/lock/neutron
$(authtoken neutron)
EOF
  put /etc/neutron/plugins/ml2/ml2_conf.ini <<EOF
[ml2]
type_drivers = flat,vlan
tenant_network_types = vlan
mechanism_drivers = openvswitch
extension_drivers = port_security,qos
[ml2_type_flat]
flat_networks = physnet1
[ml2_type_vlan]
network_vlan_ranges = physnet1:100:199
[securitygroup]
enable_security_group = true
EOF
}

# config_uwsgi PROJECT FILE THREADS: Debian's uwsgi settings without the apparmor plugin and with fewer workers. Threads
# are on everywhere (neutron's notifier to nova is one) and connections are closed openly (uwsgi closes them anyway).
config_uwsgi() {
  sed -e '/^apparmor-profile/d' -e 's/^plugins = .*/plugins = python3/' -e '/^logto/d' -e '/^uid/d' -e '/^gid/d' \
    -e '/^start-time/d' -e 's/^chdir = .*/chdir = \//' -e "s/^processes = .*/processes = 1/" -e "s/^threads = .*/threads = $3/" \
    -e '/^enable-threads/d' -e '/^add-header/d' "$WORK/roots/control/etc/$1/$2.ini" |
    put "/etc/$1/$2.ini"
  printf 'need-app = true\nenable-threads = true\nadd-header = Connection: close\n' >>"$WORK/ctl/upper/etc/$1/$2.ini"
}
