#!/usr/bin/perl
# renew.pl PID START LXCFS FILE...: takes what is mounted on the FILEs off in the mount namespace of process PID, which started START clock ticks
# after boot, and puts those below the folder LXCFS there, if that is not empty. A file of this namespace comes into another one only through a
# descriptor: open_tree here, move_mount there.
use strict;
use warnings;
use Errno;

my ($AT_FDCWD, $CLONE_NEWNS, $MNT_DETACH, $OPEN_TREE_CLONE, $F_EMPTY_PATH) = (-100, 0x20000, 2, 1, 4);
my ($open_tree, $move_mount) = (428, 429); # on every architecture
my $machine = (POSIX::uname())[4];
my %numbers = (x86_64 => [166, 308], aarch64 => [39, 268]);
my ($umount2, $setns) = @{$numbers{$machine} or die "renew.pl does not know the system calls of $machine\n"};

my ($pid, $start, $lxcfs, @files) = @ARGV;
my %new;
if ($lxcfs ne '') {
  for my $file (@files) {
    my $source = "$lxcfs$file";
    my $tree = syscall($open_tree, $AT_FDCWD, $source, $OPEN_TREE_CLONE);
    die "open_tree $source: $!\n" if $tree < 0;
    $new{$file} = $tree;
  }
}
open(my $namespace, '<', "/proc/$pid/ns/mnt") or die "process $pid: $!\n";
# that process lives, so it lived when its namespace was opened: the pid has not been given to another one between
open(my $stat, '<', "/proc/$pid/stat") or die "process $pid: $!\n";
my $line = join('', <$stat>);
my @fields = split(/ /, substr($line, rindex($line, ')') + 2));
die "process $pid is not the one that was meant any more\n" unless $fields[0] !~ /[ZX]/ && $fields[19] == $start;
syscall($setns, fileno($namespace), $CLONE_NEWNS) == 0 or die "setns: $!\n";
my $empty = '';
for my $file (@files) {
  my $path = $file;
  syscall($umount2, $path, $MNT_DETACH) == 0 or $!{EINVAL} or die "umount $file: $!\n"; # EINVAL: nothing is mounted there
  next unless defined $new{$file};
  syscall($move_mount, $new{$file}, $empty, $AT_FDCWD, $path, $F_EMPTY_PATH) == 0 or die "move_mount $file: $!\n";
}

BEGIN { require POSIX }
