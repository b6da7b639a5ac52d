#!/bin/bash
# fabric-init.sh: first process of the namespace that holds the two switches between the machines.
set -euo pipefail
. "$(dirname "$0")/common-init.sh"
note_self
exec 9>"$NS_FILE"
become_init sleep infinity
