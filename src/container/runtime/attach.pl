#!/usr/bin/perl
# attach.pl BUNDLE: joins its standard input and output with a container's console. conmon offers that on a socket of whole packets
# (SOCK_SEQPACKET), which Node cannot open; perl-base is on every Debian. Each packet of conmon begins with a byte that names the stream.
# A reader that is too slow loses output, as on a serial line: a socket that nobody empties would hold up the console of all the others.
# After the console's end one that does not read at all is not waited for.
use strict;
use warnings;
use Errno qw(EAGAIN EINTR);
use Fcntl qw(F_GETFL F_SETFL O_NONBLOCK);
use Socket qw(AF_UNIX SOCK_SEQPACKET pack_sockaddr_un);

my $most = 256 * 1024;
my $patience = 3; # seconds
my ($bundle) = @ARGV;
chdir $bundle or die "$bundle: $!\n"; # a path of more than 107 bytes cannot be named to connect
socket(my $console, AF_UNIX, SOCK_SEQPACKET, 0) or die "socket: $!\n";
connect($console, pack_sockaddr_un('attach')) or die "$bundle/attach: $!\n";
for my $stream ($console, \*STDOUT) {
  fcntl($stream, F_SETFL, fcntl($stream, F_GETFL, 0) | O_NONBLOCK) or die "fcntl: $!\n";
}
$SIG{PIPE} = 'IGNORE';
sub passing { $!{EAGAIN} || $!{EINTR} }

my ($in, $out, $ended) = ('', '', 0);
until ($ended && $out eq '') {
  my ($read, $write) = ('', '');
  vec($read, fileno(STDIN), 1) = 1 if $in eq '' && !$ended;
  vec($read, fileno($console), 1) = 1 unless $ended;
  vec($write, fileno($console), 1) = 1 if $in ne '' && !$ended;
  vec($write, fileno(STDOUT), 1) = 1 if $out ne '';
  my $ready = select($read, $write, undef, $ended ? $patience : undef);
  exit 0 if $ready == 0;
  next if $ready < 0;
  if (vec($read, fileno(STDIN), 1)) {
    my $count = sysread(STDIN, $in, 4096);
    exit 0 if defined $count ? $count == 0 : !passing();
  }
  if (vec($write, fileno($console), 1)) {
    my $count = send($console, $in, 0);
    if (defined $count) { $in = '' } elsif (!passing()) { $ended = 1 }
  }
  if (vec($read, fileno($console), 1)) {
    my $packet = '';
    my $from = recv($console, $packet, 65536, 0);
    if (defined $from ? $packet eq '' : !passing()) { $ended = 1 }
    elsif (length $packet > 1) {
      $out .= substr $packet, 1;
      $out = substr $out, -$most if length $out > $most;
    }
  }
  if (vec($write, fileno(STDOUT), 1)) {
    my $count = syswrite(STDOUT, $out);
    if (defined $count) { substr($out, 0, $count) = '' } elsif (!passing()) { exit 0 }
  }
}
