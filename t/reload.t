# Rule 23, registry_auth_cache: what is known survives
# a reload, a zone of another size begins anew, nobody is turned away meanwhile,
# and new workers hear of changes like the old ones.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;

our $OTHER = '{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=';    # correct horse
our $SECRET = '{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=';

# A request that its worker waits for, so that it does not leave.
sub begin_request {
    my $socket = Harness::Client::connect_to(Harness::expand('$TEST_NGINX_SERVER_PORT'));
    Harness::Client::write_all($socket, "GET /v2/ HTTP/1.1\r\nHost: a\r\n");
    return $socket;
}

sub end_request {
    my ($socket, $login) = @_;
    Harness::Client::write_all($socket, 'Authorization: ' . Harness::Client::basic($login)
        . "\r\nConnection: close\r\n\r\n");
    return (Harness::Client::receive($socket, Harness::Valgrind::timeout(5), 'GET'))[0];
}

# Which files that exist no more the workers' threads still have open. Threads
# may have tables of open files of their own.
sub deleted {
    my %seen;
    for my $worker (nginx_server()->workers) {
        $seen{$_} = 1 for grep { m{/logs/.* \(deleted\)$} } map {
            readlink // '' } glob "/proc/$worker/task/*/fd/*";
    }
    return join ' ', sort keys %seen;
}

defaults(
    http_config  => zone_http('zone=auth:1m'),
    config       => zone_config(),
    accounts     => "warm:secret\nalice:secret\nbob:secret\n",
    workers      => 2,
    restart      => '',    # an empty zone
    skip_valgrind => 'there is no master to reload',
);
run_tests();

__DATA__
=== what is known survives a reload while a worker hears of changes
--- after
in_each_worker('warm:secret');
soon('alice is known', '200 HIT', sub { asked('alice:secret') });
soon('a wrong password is known', '401 HIT', sub { asked('alice:wrong') });
my @old = nginx_server()->workers;
my $held = main::begin_request();
Time::HiRes::sleep(0.1);    # until it is read
nginx_server()->reload;
soon('new workers', 1,
    sub { (grep { my $pid = $_; !grep { $_ == $pid } @old } nginx_server()->workers) >= 2 ? 1 : 0 }, 10);
soon('one of them answers', 0, sub { my $pid = header(http('GET /v2/', login => 'warm:secret'), 'X-Worker');
    0 + grep { $_ eq $pid } @old }, 10);
# The old worker on guard has nothing to say to new requests.
my %seen;
soon('both answer from the zone', 2, sub {
    $seen{ header($_, 'X-Worker') } = 1
        for grep { Harness::Zone::verdict($_) eq '200 HIT' } http_many(8, 'GET /v2/', login => 'warm:secret');
    0 + grep { my $pid = $_; !grep { $_ eq $pid } @old } keys %seen;
}, 10);
equal(asked('alice:secret'), '200 HIT', 'alice, at once');
equal(asked('alice:wrong'), '401 HIT', 'her wrong password');
equal(main::end_request($held, 'alice:secret')->{status}, '200', 'the request that the old worker held');
renewed(@old);
equal(asked('alice:secret'), '200 HIT', 'when it is gone, too');

=== HIT after each of several reloads, and no request fails
--- after
in_each_worker('alice:secret');
for my $round (1 .. 3) {
    my @old = nginx_server()->workers;
    nginx_server()->reload;
    my %seen;
    $seen{$_}++ for map { everywhere('alice:secret') } 1 .. 20;
    renewed(@old);
    equal(join(', ', keys %seen), '200', "round $round: statuses");
    in_each_worker('alice:secret');
    always("round $round: known", '200 HIT', sub { asked('alice:secret') });
}

=== new workers hear of changes
--- after
in_each_worker('alice:secret');
main::reload();
in_each_worker('alice:secret');
redis("HSET docker-registry:user:alice password $main::OTHER");
soon('the old password is refused', '401', sub { everywhere('alice:secret') });
always('and stays so', '401', sub { everywhere('alice:secret') });
equal(everywhere('alice:correct horse'), '200', 'the new one');

=== a change in the middle of a reload
--- after
for my $round (1 .. 5) {
    redis("HSET docker-registry:user:alice password $main::SECRET");
    soon("round $round: known", '200', sub { everywhere('alice:secret') });
    in_each_worker('alice:secret');
    my @old = nginx_server()->workers;
    nginx_server()->reload;
    Time::HiRes::sleep(0.04 * $round);
    redis("HSET docker-registry:user:alice password $main::OTHER");
    soon("round $round: refused", '401', sub { everywhere('alice:secret') });
    renewed(@old);
    in_each_worker('warm:secret');
    always("round $round: and stays so", '401', sub { everywhere('alice:secret') });
}

=== a zone of another size
--- after
in_each_worker('alice:secret');
for my $size ('2m', '512k') {
    main::reload(sub { $_[0] =~ s/zone=auth:1m/zone=auth:$size/r });
    in_each_worker('alice:secret');
    always("$size: known", '200 HIT', sub { asked('alice:secret') });
    equal(everywhere('alice:wrong'), '401', "$size: a wrong password");
}
redis('DEL docker-registry:user:alice');
soon('removed', '401', sub { everywhere('alice:secret') });

=== a zone of another name, other times, none, and one again
--- after
in_each_worker('alice:secret');
main::reload(sub { $_[0] =~ s/zone=auth:1m/zone=other:1m ttl=5s stale=5s/r });
in_each_worker('alice:secret');
main::reload(sub { $_[0] =~ s/zone=auth:1m/off/r });
always('without it', '200 BYPASS', sub { asked('alice:secret') });
redis("HSET docker-registry:user:alice password $main::OTHER");
main::reload(sub { $_[0] =~ s/zone=auth:1m/zone=auth:1m stale=1s/r });
soon('with it: the changed password', '200', sub { everywhere('alice:correct horse') });
always('the old one', '401', sub { everywhere('alice:secret') });
in_each_worker('alice:correct horse');

=== a change while the gate is off is not missed
--- after
in_each_worker('alice:secret');
main::reload(sub { $_[0] =~ s/registry_auth "Registry"/registry_auth off/r });
redis("HSET docker-registry:user:alice password $main::OTHER");
nginx_server()->write_configuration(nginx_server()->{running});
main::reload();
always('the old password', '401', sub { everywhere('alice:secret') });
equal(everywhere('alice:correct horse'), '200', 'the new one');

=== the same for one of two prefixes
--- config eval
Harness::Zone::zone_config() . Harness::Zone::zone_config(
    "registry_auth_prefix other;") =~ s{location /}{location /v1/}r
--- redis eval
"HSET other:user:carol password $main::SECRET\n"
--- after
in_each_worker('warm:secret');
soon('carol is known', '200 HIT', sub { asked('carol:secret', '/v1/users') });
main::reload(sub {
    $_[0] =~ s/location \/v1\/ \{\s*registry_auth "Registry"/location \/v1\/ { registry_auth off/r });
in_each_worker('warm:secret');
redis('DEL other:user:carol');
nginx_server()->write_configuration(nginx_server()->{running});
main::reload();
always('the removed user', '401', sub { everywhere('carol:secret', '/v1/users') });

=== a reload that asks another database: nobody of the first one is known
--- after
in_each_worker('alice:secret');
redis('SELECT 1');
redis("HSET docker-registry:user:warm password $main::SECRET");
main::reload(sub { $_[0] =~ s{(registry_auth_redis \S+:\d+)}{$1/1}r });
in_each_worker('warm:secret');
always('alice', '401', sub { everywhere('alice:secret') });
redis('SELECT 0');

=== a configuration that is refused changes nothing
--- after
in_each_worker('alice:secret');
my @old = nginx_server()->workers;
nginx_server()->write_configuration(nginx_server()->{running} =~ s/zone=auth:1m/zone=auth:1k/r);
nginx_server()->reload;
soon('it is refused', 1, sub { nginx_server()->new_errors =~ /\[emerg\].*"registry_auth_cache"/ ? 1 : 0 }, 5);
equal(join(' ', nginx_server()->workers), join(' ', @old), 'the workers stay');
always('alice is still known', '200 HIT', sub { asked('alice:secret') });
--- error_log
registry_auth_cache

=== rule 23: a reload while lookups wait: each is answered
--- after
in_each_worker('warm:secret');
my @old = nginx_server()->workers;
redis_server()->freeze;
my @socket = map { main::begin_request() } 1 .. 10;
Harness::Client::write_all($_,
    'Authorization: ' . Harness::Client::basic('alice:secret') . "\r\nConnection: close\r\n\r\n") for @socket;
Time::HiRes::sleep(0.1);    # until they are read
nginx_server()->reload;
Time::HiRes::sleep(0.3);    # until the old workers leave
redis_server()->thaw;
my %status = map {
    (Harness::Client::receive($_, Harness::Valgrind::timeout(5), 'GET'))[0]{status} => 1 } @socket;
equal(join(' ', sort keys %status), '200', 'those that waited');
renewed(@old);
in_each_worker('alice:secret');
redis("HSET docker-registry:user:alice password $main::OTHER");
soon('a change', '401', sub { everywhere('alice:secret') });

=== a reload while Redis is gone: known users are let in, then found anew
--- http_config eval
Harness::Zone::zone_http('zone=auth:1m stale=20s')
--- after
in_each_worker('alice:secret');
redis_server()->stop;
soon('alice is let in', '200 STALE', sub { asked('alice:secret') }, 5);
main::reload();
soon('by new workers, too', '200 STALE', sub { asked('alice:secret') }, 5);
soon('a wrong password', '503', sub { everywhere('alice:wrong') }, 5);
redis_server()->start;
redis("HSET docker-registry:user:alice password $main::OTHER");
soon('Redis is back', '200 HIT', sub { asked('alice:correct horse') }, 10);
soon('the old password', '401', sub { everywhere('alice:secret') }, 5);

=== failed logins survive a reload
--- http_config eval
Harness::Zone::zone_http('zone=auth:1m') . "    registry_auth_failures 3 60s;\n"
--- after
equal(asked("alice:wrong$_") =~ s/ .*//r, '401', "wrong$_") for 1 .. 3;
main::reload();
equal(asked('alice:wrong4') =~ s/ .*//r, '429', 'throttled');
equal(asked('bob:secret') =~ s/ .*//r, '200', 'bob');

=== rule 23: a worker that is killed: the others go on, its successor hears of changes
--- after
in_each_worker('alice:secret');
for my $round (1 .. 3) {
    my ($victim) = nginx_server()->workers;
    kill 'KILL', $victim;
    renewed($victim);
    soon("round $round: answered", '200', sub { everywhere('alice:secret') }, 5);
}
in_each_worker('alice:secret');
redis("HSET docker-registry:user:alice password $main::OTHER");
soon('a change', '401', sub { everywhere('alice:secret') });
always('and stays so', '401', sub { everywhere('alice:secret') });
--- error_log eval
qr/exited on signal 9|shared memory zone \S+ was locked by/

=== rule 23: all workers killed at once, and a change before others begin
--- after
in_each_worker('alice:secret');
my @victim = nginx_server()->workers;
kill 'STOP', nginx_server()->{pid};
kill 'KILL', @victim;
redis("HSET docker-registry:user:alice password $main::OTHER");
kill 'CONT', nginx_server()->{pid};
renewed(@victim);
always('the old password', '401', sub { everywhere('alice:secret') });
equal(everywhere('alice:correct horse'), '200', 'the new one');
--- error_log eval
qr/exited on signal 9|shared memory zone \S+ was locked by/

=== a port that is given up is closed, also where an old worker has a request to end
--- http_config eval
Harness::Zone::zone_http('zone=auth:1m')
    . '    server { listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT; return 204; }'
--- after
in_each_worker('alice:secret');
my $given_up = Harness::expand('$TEST_NGINX_EXTRA_PORT');
my $listens = sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $given_up) ? 'yes' : 'no' };
equal($listens->(), 'yes', 'before');
my @old = nginx_server()->workers;
my $held = main::begin_request();
Time::HiRes::sleep(0.1);    # until it is read
nginx_server()->write_configuration(
    nginx_server()->{running} =~ s/listen 127.0.0.1:$given_up/listen 127.0.0.1:@{[ $given_up + 2 ]}/r);
nginx_server()->reload;
soon('after', 'no', $listens, 5);
equal(main::end_request($held, 'alice:secret')->{status}, '200', 'the request that the old worker held');
renewed(@old);

=== logs that were moved away are let go when nginx opens them anew, by all threads
--- after
in_each_worker('alice:secret');
my @logs = map { nginx_server()->{folder} . "/logs/$_.log" } 'access', 'error';
unlink @logs or die;
equal(main::deleted() =~ tr/ //dr, join('', map {"$_(deleted)"} @logs), 'before: both are open');
equal(asked('alice:secret'), '200 HIT', 'it is written to');
kill 'USR1', nginx_server()->{pid};
soon('after', '', sub { main::deleted() }, 5);
equal(asked('alice:secret'), '200 HIT', 'and it goes on');
