#!/bin/bash
# host-init.sh NAME: first process of a Haulier host (see ns_up): root file system from the host root, then tini.
set -euo pipefail
. "$(dirname "$0")/common-init.sh"
name=$1
note_self
root_mount host "$WORK/hosts/$name"
# Instances live on the real disk, not on this overlay: containers mount overlays of their own there.
bind_in "$WORK/hosts/$name/state" /var/lib/nova
bind_in "$WORK/hosts/$name/ovs" /run/openvswitch
bind_in "$WORK/cache/npm" /var/cache/npm
bind_in "$PROJECT" /opt/haulier
bind_in "$WORK/image/guests" /opt/haulier-guests
names_in "$name"
root_enter
# criu's lazy page server needs large pipes where root lacks CAP_SYS_RESOURCE (the machine's setting: see pipe_size_*).
knob fs/pipe-max-size 67108864
become_init tini -- sleep infinity
