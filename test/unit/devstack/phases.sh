#!/bin/bash
# phases.sh PLUGIN WORK: takes the plugin through stack.sh's, unstack.sh's and clean.sh's phases. DevStack's own functions serve where
# DEVSTACK_TREE names its source; else stand-ins with the same names, arguments and effects (functions-common, inc/ini-config, lib/nova).
# What would change the machine (sudo, npm, systemctl, openstack, runc, apt) is written to $WORK/calls.
# shellcheck disable=SC2034,SC2016 # what is sourced reads the variables; the shims expand the text
set -o errexit
PLUGIN=$1 WORK=$2
DEST=$WORK/dest DATA_DIR=$WORK/data STACK_USER=stack TOP_DIR=$WORK/devstack
NOVA_CONF_DIR=$WORK/etc NOVA_CONF=$WORK/etc/nova.conf NOVA_CPU_CONF=$WORK/etc/nova-cpu.conf NOVA_BIN_DIR=/usr/local/bin NOVA_STATE_PATH=$DATA_DIR/nova
NOVA_INSTANCES_PATH=$NOVA_STATE_PATH/instances TEMPEST_CONFIG=$WORK/etc/tempest.conf HAULIER_RUN_PATH=$WORK/run
ENABLED_SERVICES=n-api,n-cpu,key,g-api,tempest VIRT_DRIVER=libvirt
IMAGE_URLS=http://a.example/own.img,http://download.example/cirros-0.6.3-x86_64-disk.img
declare -A GITREPO GITDIR GITBRANCH
mkdir -p "$DEST" "$DATA_DIR" "$WORK/etc" "$WORK/shims"
: >"$WORK/calls"
export PATH=$WORK/shims:$PATH WORK

shim() { printf '#!/bin/bash\nprintf "%%s\\n" "%s $*" >>"$WORK/calls"\n%s\n' "$1" "${2:-}" >"$WORK/shims/$1" && chmod 755 "$WORK/shims/$1"; }
ln -s "$(command -v node)" "$WORK/shims/node" # its folder comes first when npm is called
{
  shim sudo 'case "$1" in ln | rm) [[ "$*" == *"$WORK"* ]] && [[ "$*" != */usr/local/bin/* ]] || exit 0 ;; install) exec install -d "${@: -1}" ;; esac; exec "$@"'
  shim npm
  shim busybox 'echo busybox; echo sh; echo init'
  shim systemctl
  shim openstack '[[ "$*" != *" show "* ]]'
  shim runc '[[ "$*" != *list* ]] || echo 11111111-1111-4111-8111-111111111111'
  shim findmnt 'echo "$WORK/data/nova/instances/1/root"; echo "$WORK/data/nova/instances/1"; echo /elsewhere'
  shim umount
  shim apt-get
  shim criu
}

if [[ -n "${DEVSTACK_TREE:-}" ]]; then
  FILES=$TOP_DIR/files SYSTEMD_DIR=$WORK/systemd SYSTEMCTL=systemctl KILL_PATH=/bin/kill DISTRO=trixie os_VENDOR=Debian os_PACKAGE=deb
  declare -A SYSTEMD_ENV_VARS
  mkdir "$TOP_DIR"
  ln -s "$DEVSTACK_TREE"/* "$TOP_DIR"
  rm "$TOP_DIR/extras.d" # would install tempest
  # shellcheck source=/dev/null
  source "$TOP_DIR/functions"
  # shellcheck source=/dev/null
  source <(sed -n '/^function start_nova_compute/,/^}/p' "$TOP_DIR/lib/nova")
  merge_config_file() { :; }
  configure_console_compute() { :; }
  # NOVA_CPU_CONF is made of NOVA_CONF, cells are not set up here
  CELLSV2_SETUP=singleconductor
  time_start() { :; }
  time_stop() { :; }
else
  enable_plugin() {
    DEVSTACK_PLUGINS+=",$1"
    GITREPO[$1]=$2 GITDIR[$1]=$DEST/$1 GITBRANCH[$1]=${3:-master}
  }
  define_plugin() { :; }
  enable_service() { ENABLED_SERVICES+=",$1"; }
  is_service_enabled() { [[ ",$ENABLED_SERVICES," == *",$1,"* ]]; }
  die() {
    echo "die: ${*:2}" >&2
    exit 1
  }
  iniset() {
    [[ $1 != -sudo ]] || shift
    local file=$1 section=$2 option=$3 value="${*:4}"
    touch "$file"
    grep -q "^\[$section\]" "$file" || printf '\n[%s]\n' "$section" >>"$file"
    sed -i "/^\[$section\]/,/^\[/{/^$option *=/d}" "$file"
    sed -i "s|^\[$section\]\$|&\n$option = $value|" "$file"
  }
  install_package() { echo "install_package $*" >>"$WORK/calls"; }
  run_phase() {
    local mode=$1 phase=$2 plugin
    for plugin in ${DEVSTACK_PLUGINS//,/ }; do
      local dir=${GITDIR[$plugin]}
      # shellcheck source=/dev/null
      case $mode in
        source) source "$dir/devstack/settings" ;;
        override_defaults) source "$dir/devstack/override-defaults" ;;
        *) source "$dir/devstack/plugin.sh" "$mode" "$phase" ;;
      esac
    done
  }
  load_plugin_settings() { run_phase source; }
  get_plugin_packages() {
    local plugin
    for plugin in ${DEVSTACK_PLUGINS//,/ }; do sed 's/#.*//' "${GITDIR[$plugin]}/devstack/files/debs/$plugin"; done
  }
  run_process() {
    is_service_enabled "$1" || return 0
    printf 'unit %s User=%s ExecStart=%s\n' "$1" "${4:-$STACK_USER}" "$2" >>"$WORK/units"
  }
  start_nova_compute() {
    cp "$NOVA_CONF" "$NOVA_CPU_CONF"
    run_process n-cpu "$NOVA_BIN_DIR/nova-compute --config-file $NOVA_CPU_CONF"
  }
fi
echo_summary() { echo "summary $*"; }

# local.conf, stack.sh
enable_plugin haulier https://git.example/haulier
ln -s "$PLUGIN" "${GITDIR[haulier]}"
run_phase override_defaults >/dev/null
run_phase source
echo "driver $VIRT_DRIVER"
echo "images $IMAGE_URLS $DEFAULT_IMAGE_NAME"
echo "services $ENABLED_SERVICES"
echo "packages $(get_plugin_packages | xargs)"
run_phase stack pre-install
run_phase stack install
printf '[DEFAULT]\ntransport_url = rabbit://\n' >"$NOVA_CONF"
run_phase stack post-config
run_phase stack post-config # again, as after a stack.sh that was ended
start_nova_compute
run_phase stack extra
run_phase stack test-config
[[ -z "${DEVSTACK_TREE:-}" ]] || sed -n 's/^\(User\|ExecStart\) = /\1=/p' "$SYSTEMD_DIR/devstack@n-cpu.service" | sort -r | xargs printf 'unit n-cpu %s %s %s %s\n' >"$WORK/units"
echo "after stack: $NOVA_BIN_DIR $STACK_USER"
run_phase unstack
load_plugin_settings
run_phase clean
# a control node alone
ENABLED_SERVICES=n-api,key
before=$(wc -l <"$WORK/calls")
for phase in pre-install install post-config extra test-config; do run_phase stack $phase; done
run_phase unstack
run_phase clean
echo "without n-cpu: $(($(wc -l <"$WORK/calls") - before)) calls"
