#!/usr/bin/perl
# loop-mount.pl FILE OPTIONS FOLDER: mounts the ext4 image FILE on FOLDER, as mount(8) does with the option `loop`, but without a look at
# every loop device of the host. That look finds a file that has a device already, which must not get a second one: two file systems would write the
# same bytes. Here a lock on the file tells, which the device itself holds on to for as long as it has the file.
# Ends with 75 where it cannot tell, or get a device: let mount(8) do it.
use strict;
use warnings;
use Fcntl qw(:flock O_RDWR);
use Errno qw(EBUSY);

my ($GET_FREE, $CONFIGURE, $AUTOCLEAR, $unable) = (0x4C82, 0x4C0A, 4, 75); # linux/loop.h
my ($file, $options, $folder) = @ARGV;
$^F = 1000; # mount(8) gets the descriptors: the device goes away with the last that has it open, or has it mounted
sysopen(my $image, $file, O_RDWR) or exit $unable;
flock($image, LOCK_EX | LOCK_NB) or exit $unable;
sysopen(my $control, '/dev/loop-control', O_RDWR) or exit $unable;
for (1 .. 100) {
  my $number = ioctl($control, $GET_FREE, 0);
  defined $number or exit $unable;
  my $device = '/dev/loop' . ($number + 0);
  sysopen(my $loop, $device, O_RDWR) or exit $unable;
  # struct loop_config: fd, block_size, loop_info64 (flags, name), reserved
  my $config = pack('L L x40 L L L L a64 x64 x32 x16 x64', fileno($image), 0, 0, 0, 0, $AUTOCLEAR, substr($file, 0, 63));
  if (ioctl($loop, $CONFIGURE, $config)) {
    exec 'mount', '-t', 'ext4', '-o', $options, '--', $device, $folder;
    die "mount: $!\n";
  }
  $! == EBUSY or exit $unable; # somebody else took it just now
}
exit $unable;
