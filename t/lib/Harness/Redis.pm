# A real redis-server for a test file, and just enough of a client.
# Called by Harness.pm. Commands are sent in Redis's inline form, whose quoting
# is the one of redis-cli, over one connection: no process per command.
package Harness::Redis;

use strict;
use warnings;

use IO::Socket::INET;
use Time::HiRes qw(sleep);

use Harness::Process;

sub new {
    my ($class, %arg) = @_;
    return bless {%arg}, $class;    # port, folder
}

# Options are redis-server arguments: --requirepass secret, ...
sub start {
    my ($self, @options) = @_;

    $self->{pid} = Harness::Process::start(
        'redis-server', "$self->{folder}/redis.out",
        'redis-server', '--port', $self->{port}, '--bind', '127.0.0.1',
        '--save', '', '--appendonly', 'no', '--daemonize', 'no',
        '--unixsocket', "$self->{folder}/redis.sock",
        '--dir', $self->{folder}, '--enable-debug-command', 'yes', @options
    );
    for (1 .. 1000) {
        if (my $socket = $self->open_socket) {
            $self->{socket} = $socket;
            return;
        }
        sleep 0.005;
    }
    die "redis-server does not answer: see $self->{folder}/redis.out\n";
}

sub open_socket {
    my ($self) = @_;
    return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port});
}

sub running { return defined $_[0]{pid} }

sub stop {
    my ($self) = @_;
    $self->{disturbed} = 1;
    close delete $self->{socket} if $self->{socket};
    my $pid = delete $self->{pid} or return;
    kill 'CONT', $pid;
    Harness::Process::stop($pid, 'KILL', 5);
}

sub restart {
    my ($self, @options) = @_;
    $self->stop;
    $self->start(@options);
}

sub freeze { $_[0]{disturbed} = 1; kill 'STOP', $_[0]{pid} }
sub thaw   { kill 'CONT', $_[0]{pid} }

# Sends one line as redis-cli would read it; an error reply dies.
sub command {
    my ($self, $line) = @_;

    my $socket = $self->{socket} ||= $self->open_socket or die "redis: not running\n";
    print {$socket} "$line\r\n";
    $socket->flush;
    return $self->reply($line);
}

# The same with arguments as they are, binary ones included.
sub call {
    my ($self, @words) = @_;

    my $socket = $self->{socket} or die "redis: not running\n";
    print {$socket} '*' . @words . "\r\n" . join '', map { '$' . length($_) . "\r\n$_\r\n" } @words;
    $socket->flush;
    return $self->reply($words[0]);
}

sub reply {
    my ($self, $what) = @_;

    my $socket = $self->{socket};
    local $/ = "\r\n";
    my $line = <$socket>;
    die "redis: connection closed after: $what\n" unless defined $line;
    chomp $line;

    my ($kind, $rest) = (substr($line, 0, 1), substr($line, 1));
    die "redis: $rest (after: $what)\n" if $kind eq '-';
    if ($kind eq '$') {
        return if $rest < 0;
        my $left = $rest + 2;
        my $data = '';
        while ($left > 0) {
            my $got = read $socket, $data, $left, length $data;
            die "redis: connection closed\n" unless $got;
            $left -= $got;
        }
        return substr $data, 0, $rest;
    }
    return [ map { $self->reply($what) } 1 .. $rest ] if $kind eq '*';
    return $rest;
}

# Empty, and without what CONFIG SET of an earlier block left behind.
sub flush {
    my ($self) = @_;
    $self->command('FLUSHALL');
}

# What is in the database now, to be put back without running the tool again.
sub snapshot {
    my ($self) = @_;
    return { map { $_ => $self->call('DUMP', $_) } @{ $self->call('KEYS', '*') } };
}

sub restore {
    my ($self, $snapshot) = @_;
    $self->call('RESTORE', $_, 0, $snapshot->{$_}) for keys %$snapshot;
}

1;
