#!/usr/bin/perl
# Stands in criu's place in the runtime's PATH, under the name `criu`: a dump or a restore waits here until the service opens the gate
# (criu-gate.ts); whatever else the runtime asks of criu goes on at once. What the runtime wants is in the first bytes of its request, which
# are looked at and left where they are (criu's images/rpc.proto: field 1 is the type; 1 a dump, 2 a restore).
#
# The gate is a socket in the folder HAULIER_GATE. One word opens it, `go`, maybe with a file of a control group, which this process
# joins first. A service that gives up or dies closes it: then criu is not started, and the runtime fails.
use strict;
use warnings;
use Fcntl qw(O_RDONLY);
use Socket qw(AF_UNIX MSG_PEEK SOCK_STREAM pack_sockaddr_un);

$^F = 1_000_000; # what the runtime gave us is criu's
my ($gate, $criu) = delete @ENV{qw(HAULIER_GATE HAULIER_CRIU)};
sub begin { exec { $criu } 'criu', @ARGV or die "criu-gate: $criu: $!\n" }

begin() unless @ARGV == 2 && $ARGV[0] eq 'swrk' && $ARGV[1] =~ /^\d+$/;
open(my $runtime, '+<&=', $ARGV[1]) or die "criu-gate: the runtime's socket: $!\n";
defined recv($runtime, my $request, 16, MSG_PEEK) or die "criu-gate: the runtime's request: $!\n";
begin() if $request =~ /^\x08([\x00\x03-\x7f])/;

sysopen(my $folder, $gate, O_RDONLY) or die "criu-gate: $gate: $!\n";
socket(my $service, AF_UNIX, SOCK_STREAM, 0) or die "criu-gate: socket: $!\n";
connect($service, pack_sockaddr_un('/proc/self/fd/' . fileno($folder) . '/gate')) or die "criu-gate: $gate/gate: $!\n";
my $word = <$service>;
die "criu-gate: not wanted any more\n" unless defined $word && $word =~ /^go(?: (\S.*))?\n\z/;
if (defined $1) {
  open(my $group, '>', $1) or die "criu-gate: $1: $!\n";
  syswrite($group, "0") or die "criu-gate: $1: $!\n";
  close $group;
}
close $service;
close $folder;
begin();
