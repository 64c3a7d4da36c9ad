# A server that takes Redis commands and gives back the bytes of the section:
# for states that a real one reaches only by chance (LOADING) and for garbage.
# Started by Harness.pm for blocks with `--- fake_redis`, at
# $TEST_NGINX_FAKE_REDIS_PORT, until the block ends. The section is the reply
# to each command that reads data; the rest gets +OK. The words `close` and
# `hang` alone close the connection or answer nothing.
package Harness::FakeRedis;

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;

use Harness::Process;

sub start {
    my ($port, $reply) = @_;
    my $listener = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1',
        LocalPort => $port,
        ReuseAddr => 1,
        Listen    => 64,
    ) or die "port $port: $!\n";
    return Harness::Process::start_sub('fake redis', sub { run($listener, $reply) });
}

sub run {
    my ($listener, $reply) = @_;

    $SIG{PIPE} = 'IGNORE';
    my $select = IO::Select->new($listener);
    my $parent = getppid;
    my %in;
    while (getppid == $parent) {
        for my $socket ($select->can_read(1)) {
            if ($socket == $listener) {
                $select->add(scalar $listener->accept);
                next;
            }
            my $key = fileno $socket;
            my $got = sysread $socket, $in{$key}, 65_536, length($in{$key} // '');
            if (!$got || !answer($socket, \$in{$key}, $reply)) {
                delete $in{$key};
                $select->remove($socket);
                close $socket;
            }
        }
    }
}

# Answers the whole commands of a buffer; false to close.
sub answer {
    my ($socket, $in, $reply) = @_;
    while (defined(my $name = take($in))) {
        my $reads = $name =~ /^(?:hgetall|hget|hmget|lrange|get|ping)$/i;
        return 0 if $reads && $reply eq 'close';
        next if $reads && $reply eq 'hang';
        syswrite $socket, $reads ? $reply : "+OK\r\n";
    }
    return 1;
}

# Takes one command off the buffer and returns its name.
sub take {
    my ($in) = @_;
    $$in =~ /\A\*(\d+)\r\n/ or return;
    my ($left, $at, @word) = ($1, $+[0]);
    while ($left--) {
        pos($$in) = $at;
        $$in =~ /\G\$(\d+)\r\n/g or return;
        $at = pos($$in) + $1 + 2;
        return if length $$in < $at;
        push @word, substr $$in, pos $$in, $1;
    }
    substr $$in, 0, $at, '';
    return $word[0];
}

1;
