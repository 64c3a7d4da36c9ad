# interface.md, registry_auth_failures: so many different wrong passwords of a
# client address for a user in a period, then 429 without asking Redis; nobody
# else is shut out, and neither is who was let in before.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;
use POSIX ();

our $SMALLEST = 8 * POSIX::sysconf(POSIX::_SC_PAGESIZE());

sub limited {
    my ($limit, $arguments) = @_;
    return zone_http($arguments // 'zone=auth:1m') . ($limit ? "    registry_auth_failures $limit;\n" : '');
}

sub status { return asked(@_) =~ s/ .*//r }

# The statuses of wrong passwords in turn.
sub wrong { my ($user, @word) = @_; return join ' ', map { status("$user:$_") } @word }

# One request from another address.
sub from {
    my ($address, $login) = @_;
    return status($login, '/v2/', headers => "X-Real-IP: $address\n");
}

our $REALIP = "        set_real_ip_from 127.0.0.1;\n        real_ip_header X-Real-IP;\n";

defaults(
    http_config => limited('3 60s'),
    config      => zone_config(),
    accounts    => "warm:secret\nalice:secret\nbob:secret\ncarol:secret\n",
    restart     => '',    # an empty zone
);
run_tests();

__DATA__
=== three wrong passwords are borne, then 429 TOOMANYREQUESTS with Retry-After
--- login eval
[ map {"alice:wrong$_"} 1 .. 5 ]
--- request eval
[ ("GET /v2/") x 5 ]
--- error_code eval
[ (401) x 3, (429) x 2 ]
--- oci_error eval
[ ("UNAUTHORIZED") x 3, ("TOOMANYREQUESTS") x 2 ]
--- response_headers_like eval
[ ("WWW-Authenticate: Basic .*") x 3, ("Retry-After: (?:[1-9]|[1-5]\\d|60)") x 2 ]
--- response_headers eval
[ (undef) x 3, ("!WWW-Authenticate\nX-Result: throttled\nDocker-Distribution-Api-Version: registry/2.0") x 2 ]
--- forwarded: 0

=== Redis is not asked then
--- after
equal(main::wrong('alice', 1 .. 4), '401 401 401 429', 'the limit');
redis('CONFIG RESETSTAT');
equal(main::wrong('alice', 5 .. 8), '429 429 429 429', 'more of them');
equal(redis('INFO commandstats') =~ /^cmdstat_(?:hgetall|hget|hmget|lrange):/m ? 1 : 0, 0, 'Redis was not asked');

=== the same wrong password counts once, however often it is repeated
--- after
equal(main::wrong('alice', ('same') x 12), join(' ', ('401') x 12), 'repeated');
equal(main::status('alice:secret'), '200', 'the right one');
equal(main::wrong('alice', 'second', 'third', 'fourth'), '401 401 429', 'different ones');

=== the same, when all come at once
--- after
in_each_worker('warm:secret');
my %seen = map { $_->{status} => 1 } http_many(32, 'GET /v2/', login => 'alice:same');
equal(join(' ', sort keys %seen), '401', 'all of them');
equal(main::status('alice:secret'), '200', 'the right one');

=== the right password, once verified, still passes
--- after
in_each_worker('alice:secret');
equal(main::wrong('alice', 1 .. 5), '401 401 401 429 429', 'the limit');
always('who was let in before', '200 HIT', sub { asked('alice:secret') });
equal(main::wrong('alice', 6), '429', 'another wrong one');

=== the right password itself is never counted
--- after
equal(main::wrong('alice', ('secret') x 10), join(' ', ('200') x 10), 'the right one');
equal(main::wrong('alice', 1 .. 3, 'secret'), '401 401 401 200', 'and then');

=== an unknown user is like any other
--- login eval
[ map {"nobody:wrong$_"} 1 .. 4 ]
--- request eval
[ ("GET /v2/") x 4 ]
--- error_code eval
[ 401, 401, 401, 429 ]

=== another user from the same address is let in
--- after
equal(main::wrong('alice', 1 .. 4), '401 401 401 429', 'alice');
equal(main::status('bob:secret'), '200', 'bob');
equal(main::wrong('bob', 1 .. 4), '401 401 401 429', 'bob has his own count');

=== another address is not throttled, and has its own count
--- needs: --with-http_realip_module
--- config eval
$main::REALIP . Harness::Zone::zone_config()
--- after
equal(join(' ', map { main::from('192.0.2.1', "alice:wrong$_") } 1 .. 4), '401 401 401 429', 'one address');
equal(main::from('192.0.2.1', 'alice:secret'), '429', 'nobody verified that one yet');
equal(main::from($_, 'alice:secret'), '200', "alice from $_") for '192.0.2.2', '2001:db8::1';
equal(main::from('192.0.2.1', 'alice:secret'), '200', 'verified from elsewhere, known here');
equal(join(' ', map { main::from('192.0.2.3', "alice:wrong$_") } 1 .. 4), '401 401 401 429', 'a third address');

=== what is not a wrong password is not counted
--- login eval
[ ("alice:", "") x 4, ("alice:secret") x 2 ]
--- request eval
[ ("GET /v2/") x 8, "GET /v2/bob/x/tags/list", "GET /v2/" ]
--- error_code eval
[ (401) x 8, 403, 200 ]

=== while Redis is gone nobody is wrong
--- after
in_each_worker('warm:secret');
redis_server()->stop;
soon('Redis is gone', '503', sub { main::status('warm:secret') }, 10);
equal(main::wrong('alice', 1 .. 6), join(' ', ('503') x 6), 'without Redis');
redis_server()->start;
redis('HSET docker-registry:user:alice password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=');
soon('Redis is back', '200', sub { main::status('alice:secret') }, 5);

=== when the period is over they are forgotten
--- http_config eval
main::limited('2 1s')
--- after
equal(main::wrong('alice', 1 .. 2), '401 401', 'two are borne');
soon('the right password is let in', '200', sub { main::status('alice:secret') }, 5);
soon('wrong ones are borne again', '401', sub { main::wrong('alice', 4) }, 5);

=== Retry-After says when that is
--- http_config eval
main::limited('1 3s')
--- after
equal(main::wrong('alice', 1), '401', 'one is borne');
my $answer = http('GET /v2/', login => 'alice:secret');
equal($answer->{status}, '429', 'throttled');
my $wait = header($answer, 'Retry-After');
equal($wait =~ /^[1-3]$/ ? 1 : 0, 1, "within the period: $wait");
Time::HiRes::sleep($wait + 0.1);
equal(main::status('alice:secret'), '200', 'then it is over');

=== locations inherit it, and override it
--- http_config eval
main::limited('2 60s')
--- config eval
Harness::Zone::zone_config()
    . Harness::Zone::zone_config('registry_auth_failures off;') =~ s{location /}{location /v2/bob/}r
    . Harness::Zone::zone_config('registry_auth_failures 4 60s;') =~ s{location /}{location /v2/carol/}r
--- login eval
[ (map {"alice:wrong$_"} 1 .. 3), (map {"bob:wrong$_"} 1 .. 8), (map {"carol:wrong$_"} 1 .. 5) ]
--- request eval
[ ("GET /v2/") x 3, ("GET /v2/bob/x/tags/list") x 8, ("GET /v2/carol/x/tags/list") x 5 ]
--- error_code eval
[ 401, 401, 429, (401) x 8, (401) x 4, 429 ]

=== off by default
--- http_config eval
main::limited('')
--- login eval
[ map {"alice:wrong$_"} 1 .. 12 ]
--- request eval
[ ("GET /v2/") x 12 ]
--- error_code: 401

=== two workers count together
--- workers: 2
--- skip_valgrind: one process there
--- after
in_each_worker('warm:secret');
http_many(16, 'GET /v2/', login => 'alice:wrong%d');
my %seen = map { $_->{status} => 1 } http_many(16, 'GET /v2/', login => 'alice:other%d');
equal(join(' ', sort keys %seen), '429', 'in each of them');
equal(everywhere('bob:secret'), '200', 'bob');

=== a spray of users and addresses: bounded memory, others are let in
--- needs: --with-http_realip_module
--- http_config eval
main::limited('3 60s', "zone=auth:$main::SMALLEST")
--- config eval
$main::REALIP . Harness::Zone::zone_config()
--- after
my %seen;
for my $i (1 .. 400) {
    $seen{ main::from("198.51.100." . $i % 250, "user$i:wrong") }++;
    $seen{ main::from("2001:db8::$i", "alice:wrong$i") }++;
}
equal(join(' ', %seen), '401 800', 'each is told so');
equal(main::from('192.0.2.2', 'alice:secret'), '200', 'alice');
equal(join(' ', map { main::from('192.0.2.2', "bob:wrong$_") } 1 .. 4), '401 401 401 429', 'and it still counts');
--- no_error_log
no memory

=== without a zone nginx -t refuses it
--- must_die
--- http_config eval
main::limited('3 60s', '')
--- error_log
registry_auth_failures
registry_auth_cache

=== nor with one that is off
--- must_die
--- http_config eval
main::limited('3 60s', 'off')
--- error_log
registry_auth_failures
