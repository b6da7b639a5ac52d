# shellcheck shell=bash
# cgroup.sh: each machine of ours has a cgroup /haulier-devstack/NAME in every hierarchy. What runs in it lies in the
# leaf /haulier-devstack/NAME/host, containers may lie beside it. Nothing is left of them after `down`.

# Named after the work folder, so that two of them never meet.
CGROUP=haulier-devstack-$(printf %s "$WORK" | sha256sum | cut -c1-6)

# One line per mounted hierarchy: its mount point.
cgroup_mounts() { awk '($3 == "cgroup" || $3 == "cgroup2") && !seen[$2]++ { print $2 }' /proc/mounts; }

# cgroup_make NAME: makes the groups.
cgroup_make() {
  local mount dir part
  while read -r mount; do
    dir=$mount
    for part in "$CGROUP" "$1" host; do
      dir=$dir/$part
      mkdir -p "$dir" 2>/dev/null || continue
      # A v1 cpuset starts empty and takes no process before it has processors and memory nodes.
      [ ! -e "$dir/cpuset.cpus" ] || [ -e "$dir/cgroup.controllers" ] || {
        cat "${dir%/*}/cpuset.cpus" >"$dir/cpuset.cpus"
        cat "${dir%/*}/cpuset.mems" >"$dir/cpuset.mems"
      }
    done
  done < <(cgroup_mounts)
}

# cgroup_join NAME [PID]: moves this shell (or PID) into the group.
cgroup_join() {
  local mount pid=${2:-$BASHPID}
  while read -r mount; do
    { echo "$pid" >"$mount/$CGROUP/$1/host/cgroup.procs"; } 2>/dev/null || true
  done < <(cgroup_mounts)
}

# Groups outside of ours in which processes of the machine NAME are (a container with a path of its own): removed as well.
STRAYS=()
cgroup_note_strays() {
  local path
  STRAYS=()
  while read -r path; do
    grep -q ":$path\$" /proc/self/cgroup || STRAYS+=("${path#/}")
  done < <(nsenter -t "$2" -m -p -- sh -c 'cat /proc/[0-9]*/cgroup' 2>/dev/null | sed 's/^[0-9]*:[^:]*://' |
    grep -v -e "^/$CGROUP/$1/" -e '^/$' | sort -u)
}

cgroup_thaw() {
  local mount file path
  while read -r mount; do
    for path in ${STRAYS[@]+"${STRAYS[@]}"}; do
      { echo THAWED >"$mount/$path/freezer.state"; } 2>/dev/null || true
    done
    [ -d "$mount/$CGROUP/$1" ] || continue
    while read -r file; do
      case $file in
        *freezer.state) echo THAWED >"$file" ;;
        *) echo 0 >"$file" ;;
      esac 2>/dev/null || true
    done < <(find "$mount/$CGROUP/$1" \( -name freezer.state -o -name cgroup.freeze \) 2>/dev/null)
  done < <(cgroup_mounts)
}

# Removes the groups of NAME, and the common parent when it was the last.
cgroup_remove() {
  local mount try path
  while read -r mount; do
    for path in ${STRAYS[@]+"${STRAYS[@]}"}; do
      (cd "$mount" && { find "$path" -depth -type d -exec rmdir {} + && rmdir -p "${path%/*}"; } 2>/dev/null) || true
    done
  done < <(cgroup_mounts)
  STRAYS=()
  for try in {1..40}; do
    while read -r mount; do
      [ ! -d "$mount/$CGROUP/$1" ] || find "$mount/$CGROUP/$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
      rmdir "$mount/$CGROUP" 2>/dev/null || true
    done < <(cgroup_mounts)
    cgroup_exists "$1" || return 0
    sleep 0.05
  done
  say "warning: cgroups of '$1' are still in use (try $try)"
}

cgroup_exists() {
  local mount
  while read -r mount; do
    [ ! -d "$mount/$CGROUP/$1" ] || return 0
  done < <(cgroup_mounts)
  return 1
}
