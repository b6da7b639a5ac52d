#!/bin/bash
# ctl-init.sh: first process of the control plane's namespaces: root file system from the control root, then tini.
set -euo pipefail
. "$(dirname "$0")/common-init.sh"
note_self
root_mount control "$WORK/ctl"
bind_in "$WORK/ctl/data" /var/lib/devstack
bind_in "$PROJECT" /opt/haulier
names_in ctl
root_enter
become_init tini -- sleep infinity
