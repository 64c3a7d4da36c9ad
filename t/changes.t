# registry_auth_redis changes=: how Redis tells what changes, and what the
# cache makes of each way. A change of which Redis tells counts at once in every worker.
use strict;
use warnings;
use lib 't/lib';
use File::Temp;
use Harness;
use Harness::Process;
use Harness::Zone;
use JSON::PP qw(decode_json);

our $folder = File::Temp->newdir;
our $TEAM   = '/v2/team/x/tags/list';

# The zone, and Redis at a URL with these parameters.
sub redis_http {
    my ($redis, $zone) = @_;
    $redis =~ s{:PORT}{:\$TEST_NGINX_REDIS_PORT};
    return zone_http($zone // 'zone=auth:1m')
        . "    registry_auth_redis $redis timeout=2s connect_timeout=2s;\n";
}

# Runs the tool.
sub tool {
    my (@verb) = @_;
    my $tool = $ENV{TEST_AUTHCTL} || 'build/registry-authctl';
    my $url = Harness::expand('redis://127.0.0.1:$TEST_NGINX_REDIS_PORT');
    system({$tool} $tool, '--redis', $url, @verb) == 0 or die "@verb: $?\n";
}

# What the page says of the way.
sub rung {
    return decode_json(http('GET /status?format=json')->{body})->{redis}{changes};
}

sub status { return asked(@_) =~ s/ .*//r }

# What stands between the workers and Redis, in one of two modes. "old": a server
# without BCAST, as a command with that word is refused; after USR1 nobody can
# connect any more. "silent": a network that loses what is under way; after USR1
# nothing comes through on the connections that there are, though they stay open,
# and new ones are as ever.
my $RELAY = <<'END';
use IO::Socket::INET; use IO::Select;
my ($mode, $port, $to) = @ARGV;
my $in = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$port", Listen => 64, ReuseAddr => 1) or die $!;
my ($select, %other, %client, @kept) = (IO::Select->new($in));
$SIG{USR1} = $mode eq 'silent'
    ? sub { $select->remove($_) for values %other; push @kept, %other; %other = () }
    : sub { $select->remove($in); close $in };
while (1) {
    for my $from ($select->can_read) {
        if ($from == $in) {
            my $client = $in->accept or next;
            my $server = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$to");
            if (!$server) { close $client; next }
            ($other{$client}, $other{$server}, $client{$client}) = ($server, $client, 1);
            $select->add($client, $server);
            next;
        }
        my $other = $other{$from} or next;
        if (!sysread $from, my $bytes, 65536) {
            $select->remove($from, $other);
            delete @other{$from, $other};
            close $_ for $from, $other;
        } elsif ($mode eq 'old' && $client{$from} && $bytes =~ /BCAST/) {
            syswrite $from, "-ERR syntax error\r\n";
        } else { syswrite $other, $bytes }
    }
}
END

my $relay;

sub start_relay {
    my ($mode) = @_;
    my @port = map { Harness::expand("\$TEST_NGINX_${_}_PORT") } 'EXTRA', 'REDIS';
    $relay = Harness::Process::start('relay', "$folder/relay.out", $^X, '-e', $RELAY, $mode, @port);
}

sub signal_relay { kill 'USR1', $relay }

# How often the workers have connected to Redis.
sub connections {
    return decode_json(http('GET /status?format=json')->{body})->{redis_connections};
}

# The zone as a worker leaves it that dies while it changes something there: its
# flag is set. It is written to through the memory of a worker, as no signal comes at
# a chosen moment.
sub leave_in_the_middle_of_a_change {
    my $pid = (nginx_server()->workers)[0];
    open my $maps, '<', "/proc/$pid/maps" or die "maps: $!";
    open my $memory, '+<:raw', "/proc/$pid/mem" or die "mem: $!";
    for my $map (<$maps>) {
        my ($from, $to) = $map =~ m{^(\w+)-(\w+) rw-s .*/dev/zero} or next;
        no warnings 'portable';
        ($from, $to) = (hex $from, hex $to);
        sysseek $memory, $from, 0 or die "seek: $!";
        sysread $memory, my $bytes, $to - $from or die "read: $!";
        my $root = index $bytes, 'rga-zone';
        next if $root < 0;
        sysseek $memory, $from + $root + 12, 0 or die "seek: $!";
        syswrite $memory, pack('L', 1) or die "write: $!";
        return;
    }
    die 'there is no zone';
}

# The one worker that has asked for bob is killed, and does not come back to Redis; then bob is locked.
sub lock_as_the_reader_dies {
    my $reader = header(http('GET /v2/', login => 'bob:secret'), 'X-Worker');
    in_each_worker('bob:secret');
    signal_relay();
    kill 'KILL', $reader;
    redis('HSET docker-registry:user:bob password !{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=');
    renewed($reader);
    soon('who was locked', '401 503', sub { everywhere('bob:secret') }, 10);
    stop_relay();
}

sub stop_relay { Harness::Process::stop($relay, 'KILL', 5) if $relay; undef $relay }

defaults(
    config   => zone_config() . "    location = /status { registry_auth off; registry_auth_status; }\n",
    accounts => "alice:secret\nbob:secret\n",
    workers  => 2,
    restart  => '',
);
run_tests();

__DATA__
=== by itself Redis tells everything, whoever changes it
--- http_config eval
main::redis_http('redis://127.0.0.1:PORT')
--- after
in_each_worker('alice:secret');
equal(main::rung(), 'tracking', 'the page');
equal(main::status('alice:secret', $main::TEAM), '403', 'before');
redis('HSET docker-registry:user:alice grant:team/x pull');
soon('a change', '200', sub { everywhere('alice:secret', $main::TEAM) });

=== the channel tells what the tool changes, and what others publish
--- http_config eval
main::redis_http('redis://127.0.0.1:PORT changes=channel')
--- after
in_each_worker('alice:secret');
equal(main::rung(), 'channel', 'the page');
# First, as long as no worker can be late to hear of anything else.
redis('HSET docker-registry:user:alice grant:team/x pull');
always('what nobody publishes counts later', '403', sub { everywhere('alice:secret', $main::TEAM) });
redis('PUBLISH docker-registry:changes docker-registry:user:alice');
soon('what somebody publishes is', '200', sub { everywhere('alice:secret', $main::TEAM) });
main::tool('grant', 'remove', 'alice', 'team/x');
soon('no grant', '403', sub { everywhere('alice:secret', $main::TEAM) });
main::tool('user', 'lock', 'alice');
soon('a lock', '401', sub { everywhere('alice:secret') });
main::tool('user', 'unlock', 'alice');
soon('no lock', '200', sub { everywhere('alice:secret') });
in_each_worker('bob:secret');
redis('HDEL docker-registry:user:bob password');
redis('HDEL docker-registry:passwords bob');
redis('PUBLISH docker-registry:changes *');
soon('everything', '401', sub { everywhere('bob:secret') });
--- error_log
[warn]
tells what registry-authctl changes, by its channel

=== a Redis user without the right to track hears the channel, and one without any lives by ttl
--- http_config eval
main::redis_http('redis://gate:pw@127.0.0.1:PORT', 'zone=auth:1m ttl=1s')
--- redis
ACL SETUSER gate on >pw ~* resetchannels &docker-registry:changes -@all +subscribe
ACL SETUSER gate +hgetall +hmget +lrange +ping +hello
--- after
in_each_worker('alice:secret');
equal(main::rung(), 'channel', 'the channel');
redis('ACL SETUSER gate -subscribe');
redis('CLIENT KILL TYPE normal SKIPME yes');
redis('CLIENT KILL TYPE pubsub');
soon('ttl', 'expiry', sub { main::rung() }, 10);
in_each_worker('alice:secret');
redis('HSET docker-registry:user:alice grant:team/x pull');
soon('a change, after ttl', '200', sub { everywhere('alice:secret', $main::TEAM) }, 3);
--- error_log
does not tell what changes

=== without BCAST Redis tells who has asked, and what a killed worker asked for is asked anew
--- skip_valgrind: one process there
--- http_config eval
main::redis_http('redis://127.0.0.1:$TEST_NGINX_EXTRA_PORT') =~ s/ timeout/ changes=tracking timeout/r
--- init
main::start_relay('old');
--- after
in_each_worker('alice:secret');
equal(main::rung(), 'plain-tracking', 'the page');
redis('HSET docker-registry:user:alice grant:team/x pull');
soon('a change', '200', sub { everywhere('alice:secret', $main::TEAM) });
my $n = 0;
for my $worker (nginx_server()->workers) {
    in_each_worker('alice:secret');
    $n++;
    kill 'KILL', $worker;
    redis("HSET docker-registry:user:alice grant:team/x " . ($n % 2 ? 'push' : 'pull'));
    renewed($worker);
    soon("a change while a worker is away, $n", $n % 2 ? '403' : '200',
        sub { everywhere('alice:secret', $main::TEAM) }, 5);
}
my @old = nginx_server()->workers;
nginx_server()->reload;
renewed(@old);
redis('HDEL docker-registry:user:alice grant:team/x');
soon('a change after a reload', '403', sub { everywhere('alice:secret', $main::TEAM) }, 5);
main::stop_relay();
--- error_log eval
[ qr/exited on signal 9|shared memory zone \S+ was locked by/, 'tells what changes of what was asked for' ]

=== without BCAST what only a killed worker asked for is not good at others whose successor cannot connect
--- http_config eval
main::redis_http('redis://127.0.0.1:$TEST_NGINX_EXTRA_PORT') =~ s/ timeout/ changes=tracking timeout/r
--- init
main::start_relay('old');
--- after
in_each_worker('alice:secret');
main::lock_as_the_reader_dies();
--- error_log eval
qr/exited on signal 9|shared memory zone \S+ was locked by/

=== without BCAST a zone that a killed worker has left in the middle of a change knows whose death matters
--- http_config eval
main::redis_http('redis://127.0.0.1:$TEST_NGINX_EXTRA_PORT') =~ s/ timeout/ changes=tracking timeout/r
--- init
main::start_relay('old');
--- after
in_each_worker('alice:secret');
main::leave_in_the_middle_of_a_change();
in_each_worker('alice:secret');
main::lock_as_the_reader_dies();
--- error_log eval
qr/exited on signal 9|shared memory zone \S+ was locked by/

=== who was locked while no worker heard of it is not let in when Redis dies later
--- http_config eval
main::redis_http('redis://127.0.0.1:$TEST_NGINX_EXTRA_PORT', 'zone=auth:1m stale=10m')
    =~ s/timeout=2s connect_timeout=2s/timeout=500ms connect_timeout=1s/r
--- init
main::start_relay('silent');
--- after
in_each_worker('alice:secret');
in_each_worker('bob:secret');
equal(main::rung(), 'tracking', 'the page');
soon('both workers are connected', 2, \&main::connections, 10);
main::signal_relay();
redis('HSET docker-registry:user:alice password !{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=');
# Silent connections are noticed one after the other.
soon('both workers are back', 4, \&main::connections, 15);
redis_server()->stop;
soon('Redis is gone', '503', sub { main::status('carol:secret') }, 5);
my %seen = map { $_ => 1 } map { split ' ', everywhere('alice:secret') } 1 .. 20;
equal(join(' ', grep { $_ ne '401' && $_ ne '503' } sort keys %seen), '', 'alice is not let in');
redis_server()->start;
main::stop_relay();
--- error_log
connection lost

=== who was known is let in when Redis dies after one connection was lost, as another worker hears all
--- http_config eval
main::redis_http('redis://127.0.0.1:PORT', 'zone=auth:1m stale=10m')
--- after
my $is_let_in = 0;
# It takes the other worker up to a quarter of a second to say so.
for my $round (1 .. 10) {
    in_each_worker('alice:secret');
    my ($id) = redis('CLIENT LIST') =~ /^id=(\d+) .* flags=\w*B/m;
    soon("both are connected, $round", 3 * $round - 1, \&main::connections, 10);
    redis("CLIENT KILL ID $id");
    soon("it is back, $round", 3 * $round, \&main::connections, 10);
    redis_server()->stop;
    soon("Redis is gone, $round", '503', sub { main::status('bob:secret') }, 5);
    $is_let_in ||= everywhere('alice:secret') eq '200';
    redis_server()->start;
    redis('HSET docker-registry:user:alice password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=');
    last if $is_let_in;
}
equal($is_let_in, 1, 'alice is let in');
