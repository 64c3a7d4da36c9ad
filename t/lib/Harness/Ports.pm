# A range of loopback ports for this process: several test files run at once.
# Called by Harness.pm at start. The range lies below the kernel's ephemeral
# ports, so that no outgoing connection takes one while nginx restarts; a file
# lock that dies with the process keeps others away from it.
package Harness::Ports;

use strict;
use warnings;

use Fcntl qw(:flock);
use File::Spec;
use IO::Socket::INET;

my $FIRST = 20_000;
my $SLOTS = 700;
my $WIDTH = 16;

my $lock;    # open for as long as the range is ours

# Returns the first of $WIDTH consecutive ports, all of which could be bound.
sub range {
    my $folder = File::Spec->catdir(File::Spec->tmpdir, "registry-auth-t-ports.$>");
    mkdir $folder, 0700;

    my $start = $$ % $SLOTS;
    for my $try (0 .. $SLOTS - 1) {
        my $slot = ($start + $try) % $SLOTS;
        open my $file, '>>', "$folder/$slot" or die "$folder/$slot: $!\n";
        next unless flock $file, LOCK_EX | LOCK_NB;

        my $base = $FIRST + $slot * $WIDTH;
        next unless all_free($base);
        $lock = $file;
        return $base;
    }
    die "no free range of ports\n";
}

sub all_free {
    my ($base) = @_;
    for my $port ($base .. $base + $WIDTH - 1) {
        my $socket = IO::Socket::INET->new(
            LocalAddr => '127.0.0.1',
            LocalPort => $port,
            ReuseAddr => 1,
            Listen    => 1,
        ) or return 0;
        close $socket;
    }
    return 1;
}

1;
