# registry_auth_cache; rules 7, 19 and 22: what is
# known is not asked again, a change decides the next request in every worker,
# and without Redis only what was verified is accepted, for as long as configured.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;
use POSIX ();
use Test::More;

our $OTHER = '{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=';    # correct horse
our $BCRYPT = '$2y$05$bxi8B2zI6sxLgtHkV2uxQOTbz87Fe0uab9wY/mIM4SwFYm67ExcMK';    # correct horse
our $SMALLEST = 8 * POSIX::sysconf(POSIX::_SC_PAGESIZE());

# How often Redis was asked about accounts since CONFIG RESETSTAT.
sub questions {
    my %calls = redis('INFO commandstats') =~ /^cmdstat_(hgetall|hget|hmget|lrange):calls=(\d+)/mg;
    my $sum = 0;
    $sum += $_ for values %calls;
    return $sum;
}

# With a limit that a test can wait for.
sub impatient {
    my ($arguments) = @_;
    my $limit = Harness::Valgrind::wanted() ? 3000 : 400;
    return zone_http($arguments)
        . "    registry_auth_redis redis://127.0.0.1:\$TEST_NGINX_REDIS_PORT timeout=${limit}ms "
        . "connect_timeout=${limit}ms;\n";
}

# The bytes of the zone, as a worker sees them; '' where that may not be read.
sub zone_bytes {
    no warnings 'portable';    # addresses are 64 bits wide
    my ($pid) = nginx_server()->workers;
    open my $maps, '<', "/proc/$pid/maps" or return '';
    open my $memory, '<:raw', "/proc/$pid/mem" or return '';
    my $bytes = '';
    while (<$maps>) {
        my ($from, $to) = m{^([0-9a-f]+)-([0-9a-f]+) rw-s .*/dev/zero} or next;
        sysseek $memory, hex $from, 0;
        sysread $memory, $bytes, hex($to) - hex($from), length $bytes;
    }
    return $bytes;
}

defaults(
    http_config => zone_http('zone=auth:1m'),
    config      => zone_config(),
    accounts    => "warm:secret\nalice:secret\nbob:secret\n",
    restart     => '',    # an empty zone
);
# Each block with one worker and with two.
my $spec = join '', <DATA>;
run_tests(
    $spec . $spec =~ s/^(=== .*)$/$1, two workers\n--- workers: 2\n--- skip_valgrind: one process there/mgr);

__DATA__
=== MISS, then HIT
--- init
in_each_worker('warm:secret');
--- login: alice:secret
--- request eval
[ ("GET /v2/") x 4 ]
--- response_headers eval
[ "X-Cache: MISS", ("X-Cache: HIT") x 3 ]
--- forwarded: 1

=== without a zone: BYPASS
--- http_config eval
Harness::Zone::zone_http('')
--- login eval
[ "alice:secret", "alice:secret", "alice:wrong", "nobody:secret" ]
--- request eval
[ ("GET /v2/") x 4 ]
--- error_code eval
[ 200, 200, 401, 401 ]
--- response_headers: X-Cache: BYPASS

=== registry_auth_cache off: BYPASS
--- http_config eval
Harness::Zone::zone_http('off')
--- login: alice:secret
--- request eval
[ ("GET /v2/") x 2 ]
--- response_headers: X-Cache: BYPASS

=== a wrong password: 401 and MISS, then 401 and HIT; it does not touch the right one
--- init
in_each_worker('warm:secret');
--- login eval
[ ("alice:wrong") x 3, "alice:secret", "alice:secret", "alice:wrong" ]
--- request eval
[ ("GET /v2/") x 6 ]
--- error_code eval
[ (401) x 3, 200, 200, 401 ]
--- response_headers eval
[ map {"X-Cache: $_"} qw(MISS HIT HIT MISS HIT HIT) ]
--- forwarded eval
[ 0, 0, 0, 1, 1, 0 ]

=== an unknown user: 401 and MISS, then 401 and HIT; added, they are let in
--- init
in_each_worker('warm:secret');
--- login: carol:secret
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code: 401
--- response_headers eval
[ "X-Cache: MISS", "X-Cache: HIT" ]
--- after
redis('HSET docker-registry:user:carol password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=');
soon('carol is let in', '200', sub { everywhere('carol:secret') });

=== rule 12: an unknown user's other password is asked for like any user's
--- redis eval
"HSET docker-registry:user:dave password $main::BCRYPT\n"
--- init
in_each_worker('warm:secret');
--- login eval
[ (map {"dave:wrong$_"} 1 .. 2), (map {"nobody:wrong$_"} 1 .. 2) ]
--- request eval
[ ("GET /v2/") x 4 ]
--- error_code: 401
--- response_headers: X-Cache: MISS

=== what needs no account, and what is malformed, is decided without the zone
--- login:
--- request eval
[ "GET /v2/", "GET /v1/_ping", "GET /v2/alice/../x/tags/list" ]
--- error_code eval
[ 401, 200, 400 ]

=== a HIT asks Redis nothing
--- after
in_each_worker('warm:secret');
soon('alice is known', '200 HIT', sub { asked('alice:secret') });
redis('CONFIG RESETSTAT');
always('all of them HIT', '200 HIT', sub { asked('alice:secret') });
equal(questions(), 0, 'Redis was not asked');

=== rule 7: who was not seen for more than ten seconds is known still, and changes count as before
--- after
in_each_worker('alice:secret');
in_each_worker('bob:secret');
sleep 11;
redis('CONFIG RESETSTAT');
always('alice HITs', '200 HIT', sub { asked('alice:secret') });
equal(questions(), 0, 'Redis was not asked');
redis('DEL docker-registry:user:bob');
soon('bob is removed', '401', sub { everywhere('bob:secret') });
redis("HSET docker-registry:user:alice password $main::OTHER");
soon('the old password is refused', '401', sub { everywhere('alice:secret') });

=== several passwords of one user in turn: none is taken for another
--- after
in_each_worker('warm:secret');
equal(asked("alice:wrong$_") =~ s/ .*//r, 401, "wrong$_") for 1 .. 8;
equal(asked('alice:secret') =~ s/ .*//r, 200, 'the right one');
equal(asked("alice:wrong$_") =~ s/ .*//r, 401, "wrong$_ again") for 1 .. 8;
equal(asked('bob:secret') =~ s/ .*//r, 200, 'the same password of another user');

=== a slow hash is verified once
--- redis eval
"HSET docker-registry:user:dave password $main::BCRYPT\n"
--- init
in_each_worker('warm:secret');
--- login eval
[ ("dave:correct horse") x 3, ("dave:wrong") x 2, "dave:correct horse" ]
--- request eval
[ ("GET /v2/") x 6 ]
--- error_code eval
[ (200) x 3, 401, 401, 200 ]
--- response_headers eval
[ map {"X-Cache: $_"} qw(MISS HIT HIT MISS HIT HIT) ]

=== rule 7: a changed password
--- after
in_each_worker('alice:secret');
redis("HSET docker-registry:user:alice password $main::OTHER");
soon('the old one is refused', '401', sub { everywhere('alice:secret') });
always('and stays so', '401', sub { everywhere('alice:secret') });
equal(everywhere('alice:correct horse'), '200', 'the new one');

=== rule 7: a password that was wrong is the right one now
--- after
in_each_worker('warm:secret');
soon('wrong, and known', '401 HIT', sub { asked('alice:correct horse') });
redis("HSET docker-registry:user:alice password $main::OTHER");
soon('right', '200', sub { everywhere('alice:correct horse') });

=== rule 7: a locked account, and an unlocked one
--- after
in_each_worker('alice:secret');
redis('HSET docker-registry:user:alice password !{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=');
soon('locked', '401', sub { everywhere('alice:secret') });
always('and stays so', '401', sub { everywhere('alice:secret') });
redis('HSET docker-registry:user:alice password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=');
soon('unlocked', '200', sub { everywhere('alice:secret') });

=== rule 7: a removed user, others stay known
--- after
in_each_worker('alice:secret');
in_each_worker('bob:secret');
redis('DEL docker-registry:user:alice');
soon('removed', '401', sub { everywhere('alice:secret') });
always('and stays so', '401', sub { everywhere('alice:secret') });
equal(asked('bob:secret'), '200 HIT', 'bob is still known');

=== rule 7: a grant, and a denial
--- after
in_each_worker('alice:secret');
my $team = sub { everywhere('alice:secret', '/v2/team/x/tags/list') };
equal($team->(), '403', 'no right');
redis('HSET docker-registry:user:alice grant:team/x pull');
soon('granted', '200', $team);
redis('HSET docker-registry:user:alice grant:!team/** *');
soon('denied', '403', $team);
redis('HDEL docker-registry:user:alice grant:!team/**');
soon('granted again', '200', $team);
redis('HDEL docker-registry:user:alice grant:team/x');
soon('revoked', '403', $team);
always('and stays so', '403', $team);

=== rule 7: a field of P:passwords
--- redis
HSET docker-registry:passwords erin {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ= frank {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
--- after
in_each_worker('erin:secret');
redis("HSET docker-registry:passwords erin $main::OTHER");
soon('the old one is refused', '401', sub { everywhere('erin:secret') });
equal(everywhere('erin:correct horse'), '200', 'the new one');
redis('HDEL docker-registry:passwords erin');
soon('removed', '401', sub { everywhere('erin:correct horse') });
equal(everywhere('frank:secret'), '200', 'frank');
redis('HSET docker-registry:passwords gina {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=');
soon('added', '200', sub { everywhere('gina:secret') });

=== rule 7: P:backends, and a user's own
--- redis
RPUSH docker-registry:backends 127.0.0.1:$TEST_NGINX_BACKEND_PORT
--- after
my $backend = sub {
    my %seen = map { header($_, 'X-Backend') => 1 } http_many(16, 'GET /v2/', login => 'alice:secret');
    return join ' ', sort keys %seen;
};
my ($first, $second, $third) = map {"127.0.0.1:$_"} split ' ',
    Harness::expand('$TEST_NGINX_BACKEND_PORT $TEST_NGINX_BACKEND_B_PORT $TEST_NGINX_BACKEND_C_PORT');
in_each_worker('alice:secret');
equal($backend->(), $first, 'the first default');
redis("LSET docker-registry:backends 0 $second");
soon('another default', $second, $backend);
redis("HSET docker-registry:user:alice backends $third");
soon('one of their own', $third, $backend);
redis('HDEL docker-registry:user:alice backends');
soon('the default again', $second, $backend);
redis('DEL docker-registry:backends');
soon('none of theirs', '', $backend);
equal(everywhere('alice:secret'), '200', 'the server line of the upstream');

=== rule 7: FLUSHALL
--- redis
HSET docker-registry:passwords erin {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
--- after
in_each_worker($_) for 'alice:secret', 'erin:secret';
redis('FLUSHALL');
soon('alice is gone', '401', sub { everywhere('alice:secret') });
soon('erin is gone', '401', sub { everywhere('erin:secret') });
always('and stays so', '401', sub { everywhere('alice:secret') });
redis('HSET docker-registry:user:alice password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=');
soon('alice is back', '200', sub { everywhere('alice:secret') });

=== rule 7: other ways to change a key
--- after
my $key = 'docker-registry:user:alice';
for my $way ("PEXPIRE $key 100", "UNLINK $key", "RENAME $key other", "RENAME docker-registry:user:bob $key",
    "MOVE $key 3",
    "EVAL \"redis.call('del', KEYS[1])\" 1 $key", 'FLUSHDB')
{
    redis("HSET docker-registry:user:bob password $main::OTHER");
    redis("HSET $key password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=");
    in_each_worker('alice:secret');
    redis($way);
    soon($way, '401', sub { everywhere('alice:secret') });
    always("$way: and stays so", '401', sub { everywhere('alice:secret') });
}
redis("HSET $key password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=");
in_each_worker('alice:secret');
redis($_) for 'MULTI', "HSET $key password $main::OTHER", 'EXEC';
soon('MULTI', '401', sub { everywhere('alice:secret') });

=== rule 7: a change while the connections are killed
--- after
in_each_worker('alice:secret');
redis('CLIENT KILL TYPE normal SKIPME yes');
redis('HSET docker-registry:user:alice password !');
soon('locked', '401', sub { everywhere('alice:secret') }, 5);
in_each_worker('warm:secret');
always('and stays so', '401', sub { everywhere('alice:secret') });

=== ttl: an answer is asked for again after it
--- http_config eval
Harness::Zone::zone_http('zone=auth:1m ttl=1s')
--- after
in_each_worker('warm:secret');
soon('known', '200 HIT', sub { asked('alice:secret') });
soon('expired', '200 MISS', sub { asked('alice:secret') }, 4);
soon('known again', '200 HIT', sub { asked('alice:secret') });

=== two salts: a password that one of them verified is nothing to the other
--- config eval
Harness::Zone::zone_config("registry_auth_salt one:;")
    . Harness::Zone::zone_config("registry_auth_salt two:;") =~ s{location /}{location /v1/}r
--- redis eval
use Digest::SHA qw(sha1_hex);
"HSET docker-registry:passwords erin " . sha1_hex("one:secret") . " frank " . sha1_hex("two:secret") . "\n"
--- init
in_each_worker('warm:secret');
--- login eval
[ (("erin:secret") x 2, ("frank:secret") x 2) x 3 ]
--- request eval
[ ("GET /v2/", "GET /v1/users") x 6 ]
--- error_code eval
[ (200, 401, 401, 200) x 3 ]

=== two prefixes: a user of one of them is nobody to the other
--- config eval
Harness::Zone::zone_config() . Harness::Zone::zone_config(
    "registry_auth_prefix other;") =~ s{location /}{location /v1/}r
--- redis eval
"HSET other:user:alice password $main::OTHER\n" .
"HSET other:passwords erin $main::OTHER\n"
--- login eval
[ (("alice:secret") x 2, ("alice:correct horse") x 2, ("bob:secret") x 2, ("erin:correct horse") x 2) x 3 ]
--- request eval
[ ("GET /v2/", "GET /v1/users") x 12 ]
--- error_code eval
[ (200, 401, 401, 200, 200, 401, 401, 200) x 3 ]
--- after
redis('DEL other:user:alice');
soon('the other prefix is watched, too', '401', sub { everywhere('alice:correct horse', '/v1/users') });
equal(everywhere('alice:secret'), '200', 'the first one has its own');

=== rule 19: neither passwords nor hashes lie in the zone
--- after
use Digest::SHA qw(sha1_base64);
use MIME::Base64 qw(encode_base64);
my $hash = sha1_base64('haystack4711') . '=';
redis("HSET docker-registry:user:needle password {SHA}$hash");
in_each_worker('needle:haystack4711');
asked('needle:haystack4712');
my $zone = main::zone_bytes();
SKIP: {
    skip 'the memory of a worker cannot be read', 1 if $zone eq '';
    equal(index($zone, "docker-registry\0needle") > 0, 1, 'the user is there');
    equal(index($zone, $_), -1, "no $_")
        for 'haystack', $hash, encode_base64('needle:haystack4711', ''),
            encode_base64('needle:haystack4712', '');
}

=== the smallest zone evicts and works on
--- http_config eval
Harness::Zone::zone_http("zone=auth:$main::SMALLEST")
--- redis eval
my $secret = '{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=';
CORE::join '', map {"HSET docker-registry:user:user$_ password $secret grant:team$_/** pull\n"} 1 .. 300
--- after
in_each_worker('warm:secret');
for my $round (1 .. 2) {
    my %seen;
    $seen{ asked("user$_:secret") =~ s/ .*//r . asked("user$_:wrong", "/v2/") =~ s/ .*//r }++ for 1 .. 300;
    equal(join(' ', %seen), '200401 300', "round $round: each as they should be");
}
soon('a user who comes again is known', '200 HIT', sub { asked('user300:secret') });
equal(everywhere('user300:secret', '/v2/team300/x/tags/list'), '200', 'their grant');
equal(everywhere('user300:secret', '/v2/team299/x/tags/list'), '403', 'nobody else\'s');
redis('DEL docker-registry:user:user300');
soon('a change still decides', '401', sub { everywhere('user300:secret') });
--- no_error_log
no memory
[alert]

=== a record too large for the zone is asked for each time
--- http_config eval
Harness::Zone::zone_http("zone=auth:$main::SMALLEST")
--- redis eval
my $bytes = $main::SMALLEST;
'HSET docker-registry:user:alice ' . CORE::join(' ', map {"grant:team$_/** pull"} 1 .. $bytes / 12) . "\n"
--- login eval
[ ("alice:secret") x 3, "bob:secret", "alice:wrong" ]
--- request eval
[ ("GET /v2/team1/x/tags/list") x 5 ]
--- error_code eval
[ 200, 200, 200, 403, 401 ]

=== rule 22: Redis is gone, without stale: 503, never 401
--- http_config eval
main::impatient('zone=auth:1m')
--- after
in_each_worker('alice:secret');
soon('a wrong one is known', '401 HIT', sub { asked('alice:wrong') });
redis_server()->stop;
soon('no answer without Redis', '503', sub { everywhere('alice:secret') }, 5);
always('and stays so', '503', sub { everywhere('alice:secret') });
equal(everywhere($_), '503', "$_ while Redis is gone") for 'alice:wrong', 'alice:other', 'bob:secret',
    'nobody:secret';
redis_server()->start;
redis('HSET docker-registry:user:alice password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=');
soon('Redis is back', '200 HIT', sub { asked('alice:secret') }, 5);
soon('a wrong one', '401', sub { everywhere('alice:wrong') }, 5);

=== rule 22: Redis is gone, with stale: STALE for whom is known, 503 for others, never 401
--- http_config eval
main::impatient('zone=auth:1m stale=20s')
--- redis
HSET docker-registry:user:alice grant:team/x pull
--- after
in_each_worker('alice:secret');
soon('a wrong one is known', '401 HIT', sub { asked('alice:wrong') });
soon('nobody is known', '401 HIT', sub { asked('nobody:secret') });
redis_server()->stop;
soon('alice is let in', '200 STALE', sub { asked('alice:secret') }, 5);
soon('503 for others, once each worker knows', '503', sub { everywhere('alice:wrong') }, 5);
always('STALE stays', '200 STALE', sub { asked('alice:secret') });
equal(everywhere($_), '503', "$_ while Redis is gone") for 'alice:wrong', 'alice:other', 'bob:secret',
    'nobody:secret';
equal(everywhere('alice:secret', '/v2/team/x/tags/list'), '200', 'a grant');
equal(everywhere('alice:secret', '/v2/team/y/tags/list'), '403', 'no grant');
redis_server()->start;
redis("HSET docker-registry:user:alice password $main::OTHER");
soon('Redis is back: the changed password', '200 HIT', sub { asked('alice:correct horse') }, 5);
soon('the old one', '401', sub { everywhere('alice:secret') }, 5);

=== rule 22: a change that was seen is not undone by stale
--- http_config eval
main::impatient('zone=auth:1m stale=20s')
--- after
in_each_worker($_) for 'alice:secret', 'bob:secret';
redis("HSET docker-registry:user:alice password $main::OTHER");
soon('changed', '401', sub { everywhere('alice:secret') });
in_each_worker('alice:correct horse');
redis('DEL docker-registry:user:bob');
soon('removed', '401', sub { everywhere('bob:secret') });
redis_server()->stop;
soon('the new password', '200 STALE', sub { asked('alice:correct horse') }, 5);
soon('the old one', '503', sub { everywhere('alice:secret') }, 5);
soon('the removed user', '503', sub { everywhere('bob:secret') }, 5);

=== rule 22: stale lasts for as long as it says
--- http_config eval
main::impatient('zone=auth:1m stale=1s')
--- after
in_each_worker('alice:secret');
redis_server()->stop;
soon('alice is let in', '200 STALE', sub { asked('alice:secret') }, 5);
soon('over', '503', sub { everywhere('alice:secret') }, 10);
always('and stays so', '503', sub { everywhere('alice:secret') });

=== rule 22: Redis hangs: noticed without a request to ask it, then found back
--- http_config eval
main::impatient('zone=auth:1m stale=20s')
--- after
in_each_worker('alice:secret');
redis_server()->freeze;
soon('alice is let in', '200 STALE', sub { asked('alice:secret', '/v2/', timeout => 10) }, 10);
redis_server()->thaw;
soon('and found back', '200 HIT', sub { asked('alice:secret') }, 5);

=== rule 22: Redis hangs, without stale: 503 once that is noticed, never 401
--- http_config eval
main::impatient('zone=auth:1m')
--- after
in_each_worker('alice:secret');
redis_server()->freeze;
soon('503 in each worker', '503', sub { everywhere('alice:secret') }, 10);
equal(everywhere('alice:wrong'), '503', 'a wrong password');
redis_server()->thaw;
soon('and found back', '200 HIT', sub { asked('alice:secret') }, 5);
soon('a wrong password again', '401', sub { everywhere('alice:wrong') }, 5);

=== rule 7: changes in the middle of lookups: what they replace does not come back
--- after
in_each_worker('warm:secret');
my @password = ('secret', 'correct horse');
my @stored = ('{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=', $main::OTHER);
my $port = Harness::expand('$TEST_NGINX_SERVER_PORT');
my $bad = 0;
for my $round (1 .. 40) {
    my $old = $password[ $round % 2 ];
    redis("HSET docker-registry:user:alice password $stored[ $round % 2 ]");
    my @socket = map { Harness::Client::connect_to($port) } 1 .. 8;
    Harness::Client::write_all($_,
        Harness::Client::bytes(Harness::Client::parse_request('GET /v2/', '', "alice:$old", 0))) for @socket;
    redis("HSET docker-registry:user:alice password $stored[ 1 - $round % 2 ]");
    Harness::Client::receive($_, Harness::Valgrind::timeout(5), 'GET') for @socket;
    my $deadline = Time::HiRes::time() + Harness::Valgrind::timeout(2);
    Time::HiRes::sleep(0.005) while everywhere("alice:$old") ne '401' && Time::HiRes::time() < $deadline;
    $bad++ if grep { everywhere("alice:$old") ne '401' } 1 .. 3;
}
equal($bad, 0, 'rounds with an old decision');

=== a Redis that tells of no changes: the time to live is all, and one warning
--- http_config eval
Harness::Zone::zone_http('zone=auth:1m ttl=1s')
    . "    registry_auth_redis redis://gate:hunter2\@127.0.0.1:\$TEST_NGINX_REDIS_PORT timeout=2s "
    . "connect_timeout=2s;\n"
--- redis
ACL SETUSER gate reset on >hunter2 ~docker-registry:* +@read +@connection -client
--- after
in_each_worker('alice:secret');
redis("HSET docker-registry:user:alice password $main::OTHER");
soon('the old password is refused after it', '401', sub { everywhere('alice:secret') }, 5);
equal(everywhere('alice:correct horse'), '200', 'the new one');
my $warnings = () = nginx_server()->new_errors =~ /\[warn\]/g;
equal($warnings >= 1 && $warnings <= nginx_server()->workers ? 1 : 0, 1, "one warning a worker: $warnings");
redis('ACL DELUSER gate');
--- error_log
[warn]
