#!/bin/bash
# service-init.sh PIDFILE HOLDER COMMAND...: in the background, so that the service belongs to the namespace's init and
# nothing of ours waits for it: notes this process as the machine knows it (/proc is still the machine's), enters the
# mount namespace of HOLDER and becomes COMMAND.
set -euo pipefail
file=$1 holder=$2
shift 2
(
  read -r stat </proc/self/stat
  read -ra fields <<<"${stat##*) }"
  echo "${stat%% *} ${fields[19]}" >"$file"
  exec setsid nsenter -t "$holder" -m -- "$@"
) &
