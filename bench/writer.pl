#!/usr/bin/perl
# writer.pl DATA_DIR ACK_FILE: appends a numbered record of 100,000 bytes and fsyncs it, a hundred times a second (10 MB/s),
# and notes each that was acknowledged in ACK_FILE, as `NUMBER SECONDS` of the monotonic clock; at its start `start NUMBER
# SECONDS`, the number it goes on with after reading what is there. Old segments go, so that the data keeps its size.
use strict;
use warnings;
use IO::Handle;

my ($data, $acks) = @ARGV;
my ($record_bytes, $segment_records, $kept, $period) = (100_000, 640, 2, 0.01);
$SIG{TERM} = $SIG{INT} = sub { exit 0 };

open my $ack, '>>', $acks or die "$acks: $!";
my ($segment, $next) = (0, 0);
opendir my $directory, $data or die "$data: $!";
for (readdir $directory) { $segment = $1 if /^segment-(\d+)$/ && $1 > $segment }
if (-e "$data/segment-$segment") {
  my $whole = int((-s "$data/segment-$segment") / $record_bytes);
  truncate "$data/segment-$segment", $whole * $record_bytes or die "truncate: $!";
  $next = $segment * $segment_records + $whole;
  check("$data/segment-$segment", $whole) if $whole > 0;
}
open my $file, '>>', "$data/segment-$segment" or die "segment-$segment: $!";
syswrite $ack, sprintf("start %d %.6f\n", $next, monotonic());

my $filler = random_bytes($record_bytes - 20);
my $due = monotonic();
while (1) {
  if (int($next / $segment_records) != $segment) {
    $segment = int($next / $segment_records);
    open $file, '>>', "$data/segment-$segment" or die "segment-$segment: $!";
    unlink "$data/segment-" . ($segment - $kept);
  }
  # Each record begins at another place of the random bytes, so that no two are alike.
  my $turn = ($next * 7919) % length $filler;
  my $record = sprintf('%19d ', $next) . substr($filler, $turn) . substr($filler, 0, $turn);
  syswrite($file, $record) == $record_bytes or die "write: $!";
  $file->sync or die "fsync: $!";
  my $now = monotonic();
  syswrite $ack, sprintf("%d %.6f\n", $next, $now);
  $next += 1;
  $due += $period;
  # What was missed is not made up for in a burst.
  $due = $now if $due < $now;
  select(undef, undef, undef, $due - $now) if $due > $now;
}

# perl-base has no Time::HiRes: clock_gettime (228 on x86-64) of CLOCK_MONOTONIC (1).
sub monotonic {
  my $time = pack 'q2', 0, 0;
  syscall(228, 1, $time) == 0 or die "clock_gettime: $!";
  my ($seconds, $nanoseconds) = unpack 'q2', $time;
  return $seconds + $nanoseconds / 1e9;
}

sub check {
  my ($path, $records) = @_;
  open my $in, '<', $path or die "$path: $!";
  for my $index (0 .. $records - 1) {
    sysseek $in, $index * $record_bytes, 0;
    sysread $in, (my $head), 20;
    my $expected = $segment * $segment_records + $index;
    $head == $expected or die "$path: record $expected is not there";
  }
}

sub random_bytes {
  my ($count) = @_;
  open my $random, '<', '/dev/urandom' or die "urandom: $!";
  read $random, (my $bytes), $count;
  return $bytes;
}
