#!/bin/sh
# Network hook of a container: hook.sh FOLDER, with the OCI state on standard input.
#
# The runtime runs it (createRuntime) when it has made the container's namespaces, before PID 1 starts; and again at a restore,
# before criu brings the sockets back. FOLDER holds two files of `ip -batch` lines: `move` puts the waiting guest ends into the
# network namespace of @PID@, `inside` gives them addresses and routes there. Before that the settings in `knobs` are made there: lines
# of a path below /proc/sys/net and a value; one that this kernel does not have is passed over.
set -eu

fail() {
  echo "haulier network hook: $*" >&2
  exit 1
}

[ $# = 1 ] || fail "usage: hook.sh FOLDER"
folder=$1
for file in move inside knobs; do
  [ -r "$folder/$file" ] || fail "$folder/$file is missing"
done

pid=$(tr -d '\n' | sed -n 's/.*"pid"[[:space:]]*:[[:space:]]*\([0-9][0-9]*\).*/\1/p')
[ -n "$pid" ] || fail "no pid in the state that the runtime gave"
[ -e "/proc/$pid/ns/net" ] || fail "process $pid is gone"

problem=$(sed "s/@PID@/$pid/" "$folder/move" | ip -batch - 2>&1) || fail "cannot move the interfaces: $problem"

# shellcheck disable=SC2016 # expanded by the inner shell
problem=$(nsenter --net="/proc/$pid/ns/net" sh -c '
  while read -r path value; do
    [ ! -e "/proc/sys/net/$path" ] || echo "$value" >"/proc/sys/net/$path"
  done <"$1/knobs"
  exec ip -batch "$1/inside"' sh "$folder" 2>&1) || fail "cannot configure the interfaces: $problem"
