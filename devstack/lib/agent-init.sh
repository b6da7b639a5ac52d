#!/bin/bash
# agent-init.sh NAME: a mount namespace with the control root (trixie) inside the other namespaces of host NAME, for the
# neutron agent and for Debian's nova-compute. /run/openvswitch is the host's own.
set -euo pipefail
. "$(dirname "$0")/common-init.sh"
name=$1
note_self
root_mount control "$WORK/hosts/$name/agent"
bind_in "$WORK/hosts/$name/ovs" /run/openvswitch
bind_in "$PROJECT" /opt/haulier
names_in "$name"
root_enter
become_init sleep infinity
