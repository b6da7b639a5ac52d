# shellcheck shell=bash
# rabbit.sh: RabbitMQ of a namespace. It starts empty each time; user and vhosts come from a definitions file that it
# loads at start, so its slow command line is not needed.

RABBIT_DATA=/var/lib/devstack/rabbitmq

rabbit_url() { echo "rabbit://devstack:$PW_RABBIT@${2:-$CTL_IP}:5672/$1"; }

# rabbit_files FOLDER: writes /etc/rabbitmq of a root.
rabbit_files() {
  mkdir -p "$1"
  cat >"$1/definitions.json" <<EOF
{"users": [{"name": "devstack", "password_hash": "$(rabbit_hash)", "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ["administrator"]}],
 "vhosts": [{"name": "/"}, {"name": "nova"}, {"name": "neutron"}],
 "permissions": [{"user": "devstack", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
                 {"user": "devstack", "vhost": "nova", "configure": ".*", "write": ".*", "read": ".*"},
                 {"user": "devstack", "vhost": "neutron", "configure": ".*", "write": ".*", "read": ".*"}]}
EOF
  cat >"$1/rabbitmq.conf" <<EOF
listeners.tcp.default = 5672
load_definitions = /etc/rabbitmq/definitions.json
log.console = true
log.console.level = info
log.file = false
vm_memory_high_watermark.absolute = 2GB
disk_free_limit.absolute = 50MB
EOF
  echo '[].' >"$1/enabled_plugins"
  chmod 644 "$1"/*
}

# base64 of a salt of four bytes and the SHA-256 of salt and password.
rabbit_hash() {
  local salt
  salt=$(od -An -tx1 -N4 /dev/urandom | tr -d ' \n')
  {
    unhex <<<"$salt"
    {
      unhex <<<"$salt"
      printf '%s' "$PW_RABBIT"
    } | sha256sum | cut -c1-64 | unhex
  } | base64 -w0
}

# Hexadecimal digits to bytes.
unhex() {
  local hex
  read -r hex
  while [ -n "$hex" ]; do
    printf '%b' "\\x${hex:0:2}"
    hex=${hex:2}
  done
}

# rabbit_start NAMESPACE: epmd (which otherwise would listen on all addresses and outlive the broker), then the broker.
rabbit_start() {
  local user=(setpriv --reuid rabbitmq --regid rabbitmq --clear-groups --)
  ns_in "$1" -m -- sh -c "mkdir -p $RABBIT_DATA && chown rabbitmq:rabbitmq $RABBIT_DATA"
  svc_start "$1" epmd "${user[@]}" epmd -address 127.0.0.1
  SVC_ENV=(HOME=/var/lib/rabbitmq RABBITMQ_NODENAME=rabbit@localhost "RABBITMQ_MNESIA_BASE=$RABBIT_DATA"
    "RABBITMQ_LOG_BASE=$RABBIT_DATA" ERL_EPMD_ADDRESS=127.0.0.1
    "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}")
  svc_start "$1" rabbitmq "${user[@]}" /usr/lib/rabbitmq/bin/rabbitmq-server
  SVC_ENV=()
}

rabbit_wait() {
  svc_wait 120 "$1" rabbitmq port_open "$1" 5672
  say "$1: rabbitmq listens"
}
