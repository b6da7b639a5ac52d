#!/bin/sh
# Runs criu's page daemon: page-daemon.sh WORK FREEZER FROZEN COMMAND...
#
# Leads a session of its own, so that it outlives the service. In WORK it leaves `pages.pid`, its own pid, and at the end `pages.exit`,
# the daemon's exit code. A daemon that dies early leaves the container with empty pages in place of its memory, and the kernel says
# nothing of it: then the container is frozen at once (FROZEN is written to FREEZER), before it can do much with them. Not so after
# SIGUSR1: the container is being ended.
set -u
work=$1 freezer=$2 frozen=$3
shift 3
cd "$work" || exit 1

leave() {
  echo "$2" >"$1.tmp" && mv "$1.tmp" "$1"
}

expected=no
trap 'expected=yes' USR1
leave pages.pid $$
code=0
"$@" || code=$?
if [ "$code" != 0 ] && [ $expected = no ] && grep -q 'Restore finished successfully' restore.log 2>/dev/null; then
  (echo "$frozen" >"$freezer") 2>/dev/null
fi
leave pages.exit "$code"
