# shellcheck shell=bash
# vm.sh: a virtual machine with Debian's own kernel, for what the kernel of this machine cannot do: `vm COMMAND...`.
#
# Its processor is emulated (TCG), so it needs no /dev/kvm and is the same everywhere. Its root file system is the host root,
# with the modules of the kernel of the vm root and the project in it, each packed as a SquashFS without compression; what is
# written goes to a disk that is thrown away. Nothing of the machine can be reached from inside, and there is no network.

VM_RECIPE=1 # raise when the steps below change what an image contains
VM=$WORK/vm
VM_MEMORY_MIB=3072
VM_DISK_GIB=8
# What is slower emulated than done without: openssl speed sha256 is 20 MB/s with, 50 MB/s without.
VM_CPU=max,la57=off,sha-ni=off,vaes=off,vpclmulqdq=off,avx2=off,avx=off

# vm COMMAND...: runs it in a fresh machine, from the project's folder; its output is the command's, and so is its exit status.
cmd_vm() {
  [ $# -gt 0 ] || die "usage: cloud vm COMMAND..."
  root_ensure host
  root_ensure vm
  with_lock vm vm_images
  VM_RUN=$(mktemp -d "$VM/run-XXXXXX")
  trap 'rm -rf --one-file-system "$VM_RUN"; on_exit' EXIT
  step "vm: the project"
  vm_pack "$PROJECT" "$VM_RUN/project.img" -wildcards -e .git .devstack
  vm_start "$@"
  vm_status
}

# vm_images: the images of the roots and the first program, made once.
vm_images() {
  local stamp
  stamp="$VM_RECIPE $(root_hash host) $(root_hash vm) $(sha256sum <"$DEVSTACK/lib/vm-first-init.sh")"
  [ "$(cat "$VM/stamp" 2>/dev/null)" != "$stamp" ] || return 0
  step "vm: images of the roots"
  mkdir -p "$VM"
  rm -f "$VM/stamp"
  vm_pack "$WORK/roots/host" "$VM/root.img" -wildcards -e 'var/cache/*' 'var/lib/apt/*' 'usr/share/locale/*' 'usr/lib/erlang/*' 'usr/lib/rabbitmq/*' 'tmp/*' 'run/*' 'dev/*'
  vm_pack "$WORK/roots/vm/usr/lib/modules" "$VM/modules.img"
  vm_first "$VM"
  echo "$stamp" >"$VM/stamp"
}

# vm_pack TREE IMAGE [OPTION...]: with the host root's mksquashfs.
vm_pack() {
  local tree=$1 image=$2
  shift 2
  rm -f "$image"
  # shellcheck disable=SC2016 # expanded inside
  in_build_namespace sh -ec '
    root=$1 tree=$2 folder=$3
    shift 3
    mount --bind "$tree" "$root/mnt"
    mount --bind "$folder" "$root/tmp"
    exec chroot "$root" mksquashfs /mnt "$@"' sh "$WORK/roots/host" "$tree" "${image%/*}" "/tmp/${image##*/}" \
    -noI -noD -noF -noX -no-progress -quiet -no-exports "$@" >"$LOGS/vm-pack.log" 2>&1
}

# vm_first FOLDER: the kernel, and an initramfs of busybox and the modules that reach the disks.
vm_first() {
  local root=$WORK/roots/vm tree=$1/first version name file
  version=$(ls "$root/usr/lib/modules")
  rm -rf "$tree"
  mkdir -p "$tree/bin" "$tree/modules"
  cp "$root/boot/vmlinuz-$version" "$1/kernel"
  cp "$WORK/roots/host/usr/bin/busybox" "$tree/bin/busybox"
  install -m 755 "$DEVSTACK/lib/vm-first-init.sh" "$tree/init"
  for name in virtio_blk squashfs overlay; do
    while read -r file; do
      xz -dc "$root$file" >"$tree/modules/$(basename "$file" .xz)"
      basename "$file" .xz >>"$tree/modules/order"
    done < <(chroot "$root" modprobe -S "$version" --show-depends "$name" | sed -n 's/^insmod //p')
  done
  vm_archive "$tree" >"$1/first.cpio"
}

# vm_archive TREE: an archive for the kernel, on standard output.
vm_archive() { (cd "$1" && find . | LC_ALL=C sort | "$WORK/roots/host/usr/bin/busybox" cpio -o -H newc 2>/dev/null); }

# vm_start COMMAND...: the machine runs in the foreground; its console is a log, its second serial line our standard output.
vm_start() {
  VM_LOG=$LOGS/vm-${VM_RUN##*-}.log
  mkdir "$VM_RUN/command"
  host_env
  # what V8 has made of a module is kept: a service that starts again needs two thirds of the time
  { printf '%q ' env -i -C /opt/haulier "${ENTER_ENV[@]}" NODE_COMPILE_CACHE=/tmp/node "$@"; echo; } >"$VM_RUN/command/command"
  { cat "$VM/first.cpio"; vm_archive "$VM_RUN/command"; } >"$VM_RUN/first.cpio"
  truncate -s "${VM_DISK_GIB}G" "$VM_RUN/disk.img"
  mke2fs -q -F -t ext4 -E lazy_itable_init=1,nodiscard "$VM_RUN/disk.img"
  step "vm: starts ($VM_LOG)" "$VM_LOG"
  : >"$VM_LOG"
  # shellcheck disable=SC2016 # expanded inside
  setpriv --pdeathsig KILL unshare -m -p --propagation private --fork --kill-child sh -ec '
    root=$1 images=$2 run=$3 log=$4
    shift 4
    touch "$run/console"
    mount --rbind /dev "$root/dev"
    mount --bind "$images" "$root/mnt"
    mount --bind "$run" "$root/media"
    mount --bind "$log" "$root/media/console"
    exec chroot "$root" "$@"' sh "$WORK/roots/vm" "$VM" "$VM_RUN" "$VM_LOG" \
    qemu-system-x86_64 -accel tcg,thread=multi -cpu "$VM_CPU" -smp 2 -m "$VM_MEMORY_MIB" -nodefaults -no-user-config -display none -no-reboot \
    -kernel /mnt/kernel -initrd /media/first.cpio -append "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off random.trust_cpu=on ${HAULIER_VM_KERNEL:-}" \
    -serial file:/media/console -serial stdio \
    -drive file=/mnt/root.img,if=virtio,format=raw,readonly=on -drive file=/mnt/modules.img,if=virtio,format=raw,readonly=on \
    -drive file=/media/project.img,if=virtio,format=raw,readonly=on -drive file=/media/disk.img,if=virtio,format=raw,cache=unsafe
}

# vm_status: exits as the command did.
vm_status() {
  local status
  status=$(sed -n 's/^vm: the command ended with \([0-9]*\).*/\1/p' "$VM_LOG" | tail -n 1)
  [ -n "$status" ] || {
    tail -n 15 "$VM_LOG" >&2
    die "the virtual machine ended before the command (log: $VM_LOG)"
  }
  [ "$status" = 0 ] || QUIET_EXIT=1
  exit "$status"
}
