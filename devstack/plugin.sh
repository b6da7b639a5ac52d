#!/bin/bash
# plugin.sh: Haulier as a plugin of DevStack: `enable_plugin haulier URL` in local.conf. Sourced by stack.sh, unstack.sh and clean.sh with
# a mode and a phase; runs in their shell, with errexit. The service n-cpu stays DevStack's: only its program is another one.

# The Node.js to use: the distribution's, where it is new enough.
function haulier_node {
  local own=$HAULIER_DATA_DIR/node/bin/node
  if [[ -x $own ]]; then
    echo "$own"
  elif node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' 2>/dev/null; then
    command -v node
  fi
}

# Not every distribution has it. Without it servers cannot be suspended; `haulier check` says so.
function haulier_install_criu {
  command -v criu >/dev/null || install_package criu || echo_summary "No criu here: servers cannot be suspended"
}

# pre-install: the packages of files/debs or files/rpms are there already (tools/install_prereqs.sh).
function haulier_install_node {
  sudo install -d -o "$STACK_USER" "$HAULIER_DATA_DIR" "$HAULIER_BIN_DIR"
  [[ -n "$(haulier_node)" ]] || npm install --global --no-audit --no-fund --prefix "$HAULIER_DATA_DIR/node" "$HAULIER_NODE"
  [[ -n "$(haulier_node)" ]] || die $LINENO "no Node.js of 20.19 or newer, and npm gave none"
}

function haulier_install {
  local node name
  node=$(haulier_node)
  (
    cd "$HAULIER_DIR" || exit 1
    export PATH=${node%/*}:$PATH
    npm ci --no-audit --no-fund
    npm run build
  )
  for name in nova-compute haulier; do
    printf '#!/bin/sh\nexec %q %q "$@"\n' "$node" "$HAULIER_DIR/dist/src/main.js" >"$HAULIER_BIN_DIR/$name"
    chmod 755 "$HAULIER_BIN_DIR/$name"
  done
  sudo ln -sfn "$HAULIER_BIN_DIR/haulier" /usr/local/bin/haulier
}

# post-config: start_nova_compute copies $NOVA_CONF to $NOVA_CPU_CONF; the other services pass over a section that they do not know.
function haulier_configure {
  iniset "$NOVA_CONF" haulier run_path "$HAULIER_RUN_PATH"
  iniset "$NOVA_CONF" haulier http_listen "$HAULIER_HTTP_LISTEN"
  iniset "$NOVA_CONF" haulier snapshot_key "$HAULIER_DATA_DIR/snapshot.key"
  [[ -e $HAULIER_DATA_DIR/snapshot.key ]] || sudo "$HAULIER_BIN_DIR/haulier" --config-file "$NOVA_CONF" snapshot-key
  haulier_take_n_cpu
}

# DevStack's own start_nova_compute prepares all and runs $NOVA_BIN_DIR/nova-compute as $STACK_USER: in here both mean something else.
function haulier_take_n_cpu {
  declare -F haulier_devstack_start >/dev/null || eval "$(declare -f start_nova_compute | sed '1s/^start_nova_compute/haulier_devstack_start/')"
  function start_nova_compute {
    # shellcheck disable=SC2034 # read by what is called
    local NOVA_BIN_DIR=$HAULIER_BIN_DIR STACK_USER=root
    haulier_devstack_start
  }
}

# extra: a root file system of busybox, uploaded as DEFAULT_IMAGE_NAME.
function haulier_upload_image {
  local DEVSTACK=$HAULIER_DIR/devstack out=$HAULIER_DATA_DIR/busybox.tar.gz
  # shellcheck source=lib/image.sh
  . "$DEVSTACK/lib/image.sh"
  image_pack "$(command -v busybox)" "$HAULIER_DATA_DIR/image" "$out"
  openstack --os-cloud=devstack-admin image show "$HAULIER_IMAGE_NAME" >/dev/null 2>&1 ||
    openstack --os-cloud=devstack-admin image create "$HAULIER_IMAGE_NAME" --public --disk-format raw --container-format bare --file "$out"
}

# test-config: what tempest may ask for.
function haulier_configure_tempest {
  local feature
  for feature in live_migration rescue interface_attach vnc_console spice_console change_password volume_multiattach; do
    iniset "$TEMPEST_CONFIG" compute-feature-enabled $feature False
  done
  for feature in suspend pause snapshot shelve resize cold_migration console_output serial_console; do
    iniset "$TEMPEST_CONFIG" compute-feature-enabled $feature True
  done
}

# clean: the service is stopped; its containers run on, and are ended here.
function haulier_clean {
  local id mount
  for id in $(sudo runc --root "$HAULIER_RUN_PATH/runc" list -q 2>/dev/null || true); do
    sudo runc --root "$HAULIER_RUN_PATH/runc" delete --force "$id" || true
  done
  # deepest first: an overlay lies over a disk
  for mount in $(findmnt -rno TARGET | grep "^${NOVA_INSTANCES_PATH:-$NOVA_STATE_PATH/instances}/" | sort -r); do sudo umount "$mount" || true; done
  sudo rm -rf --one-file-system "$HAULIER_RUN_PATH" "${HAULIER_DATA_DIR:?}"
  sudo rm -f /usr/local/bin/haulier
}

if is_service_enabled n-cpu; then
  case "$1 ${2:-}" in
    "stack pre-install")
      echo_summary "Installing Node.js for Haulier"
      haulier_install_criu
      haulier_install_node
      ;;
    "stack install")
      echo_summary "Installing Haulier"
      haulier_install
      ;;
    "stack post-config")
      echo_summary "Configuring Haulier"
      haulier_configure
      ;;
    "stack extra")
      echo_summary "Uploading an image for Haulier"
      haulier_upload_image
      ;;
    "stack test-config")
      if is_service_enabled tempest; then haulier_configure_tempest; fi
      ;;
    "unstack ") ;; # stop_nova stops n-cpu; containers run on, as they do over a restart
    "clean ")
      echo_summary "Removing Haulier's containers"
      haulier_clean
      ;;
  esac
fi
