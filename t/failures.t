# registry_auth_failures: so many different wrong passwords of a
# client address for a user in a period, or for all users together, then 429
# for every password without asking Redis; nobody else is shut out.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Token;
use Harness::Zone;
use JSON::PP;
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

# Sends logins of GET /v2/, and does not wait for the answers.
sub sent {
    return map {
        my $socket = Harness::Client::connect_to(expand('$TEST_NGINX_SERVER_PORT'));
        Harness::Client::write_all($socket,
            Harness::Client::bytes(Harness::Client::parse_request('GET /v2/', '', $_, 0)));
        $socket;
    } @_;
}

# The same, and goes away once they were read, which a later request sees.
sub given_up {
    my @socket = sent(@_);
    status('');
    close $_ for @socket;
}

# How many passwords are being hashed, and how many wait.
sub hashing {
    my $now = decode_json(http('GET /status?format=json')->{body});
    return "$now->{hashing_running} $now->{hashing_queued}";
}

# How many of the statuses there are: "401 3, 429 5".
sub tally {
    my %count;
    $count{$_}++ for @_;
    return join ', ', map {"$_ $count{$_}"} sort keys %count;
}

our $TOKEN = access_token();
our $BCRYPT = '$2y$05$bxi8B2zI6sxLgtHkV2uxQOTbz87Fe0uab9wY/mIM4SwFYm67ExcMK';    # correct horse
# A second of hashing, and no password fits.
our $SLOW = '$2y$14$bxi8B2zI6sxLgtHkV2uxQOmLlw1946xOeT23TW5H9guqAeg.1q/uK';
our $REALIP = "        set_real_ip_from 127.0.0.1;\n        real_ip_header X-Real-IP;\n";

defaults(
    http_config => limited('3 60s'),
    config      => zone_config(),
    accounts    => "warm:secret\nalice:secret\nbob:secret\ncarol:secret\n",
    restart     => '',    # an empty zone
);
run_tests();

__DATA__
=== three wrong passwords are accepted, then 429 TOOMANYREQUESTS with Retry-After
--- login eval
[ map {"alice:wrong$_"} 1 .. 5 ]
--- request eval
[ ("GET /v2/") x 5 ]
--- error_code eval
[ (401) x 3, (429) x 2 ]
--- oci_error eval
[ ("UNAUTHORIZED") x 3,
  ("TOOMANYREQUESTS ^too many failed logins, try again in (?:[1-9]|[1-5]\\d|60) seconds?\$") x 2 ]
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
equal(redis('INFO commandstats') =~ /^cmdstat_(?:hgetall|hget|hmget|lrange):/m ? 1 : 0, 0,
    'Redis was not asked');

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

=== blocked is blocked: the right password is 429 as well, known to the cache or not
--- after
in_each_worker('alice:secret');
equal(main::wrong('alice', 1 .. 5), '401 401 401 429 429', 'the limit');
always('what is known is no oracle', '429', sub { main::status('alice:secret') });
equal(main::wrong('bob', 1 .. 3), '401 401 401', 'bob, who is not in the cache');
equal(main::status('bob:secret'), '429', 'nor is what is not known');
equal(main::wrong('alice', 6), '429', 'another wrong one');

=== blocked lets go on what is no password: an access token
--- redis eval
use Digest::SHA qw(sha256_hex);
'HSET docker-registry:user:alice token:ci "sha256=' . sha256_hex($main::TOKEN) . ' expires=' . (time + 86_400)
    . ' scope=**:*"'
--- after
in_each_worker("alice:$main::TOKEN");
equal(main::wrong('alice', 1 .. 5), '401 401 401 429 429', 'the limit');
always('the token', '200', sub { main::status("alice:$main::TOKEN") });
equal(main::status('alice:secret'), '429', 'the password');

=== what another client found out to be wrong counts, too
--- needs: --with-http_realip_module
--- config eval
$main::REALIP . Harness::Zone::zone_config()
--- http_config eval
main::limited('2 60s')
--- after
equal(join(' ', map { main::from('192.0.2.1', "alice:wrong$_") } 1 .. 2), '401 401', 'one client');
equal(join(' ', map { main::from('192.0.2.2', "alice:wrong$_") } 1 .. 3), '401 401 429',
    'another one, answered by the cache');

=== guesses under way count: of a hundred at once no more are looked at than the limit allows
--- http_config eval
main::limited('10 60s')
--- redis eval
"HSET docker-registry:user:dave password $main::BCRYPT\n"
--- after
in_each_worker('warm:secret');
my @answer = http_many(100, 'GET /v2/', login => 'dave:guess%d');
equal(main::tally(map { $_->{status} } @answer), '401 10, 429 90', 'with a slow hash');
equal(main::status('dave:correct horse'), '429', 'and the limit is reached');
@answer = http_many(100, 'GET /v2/', login => 'alice:guess%d');
equal(main::tally(map { $_->{status} } @answer), '401 10, 429 90', 'with a fast one');

=== 28: guesses whose client does not wait for the answer fill the limit, for the right password, too
--- redis eval
"HSET docker-registry:user:dave password $main::BCRYPT\n"
--- after
in_each_worker($_) for 'dave:correct horse', 'bob:secret';
redis('CLIENT PAUSE 300');
main::given_up(map {"dave:guess$_"} 1 .. 3);
soon('what is known is no oracle', '429', sub { main::status('dave:correct horse') }, 5);
always('however often it is asked', '429', sub { main::status('dave:correct horse') });
equal(main::wrong('dave', 4 .. 6), '429 429 429', 'as wrong ones are');
equal(main::status('bob:secret'), '200', 'another user');
equal(main::wrong('dave', 'guess1'), '401', 'one of those under way is looked at');

=== 28: nor do those of all names together tell it
--- http_config eval
main::limited('3 60s address=4')
--- after
in_each_worker('bob:secret');
redis('CLIENT PAUSE 300');
main::given_up(map {"nobody$_:guess"} 1 .. 4);
soon('what is known is no oracle', '429', sub { main::status('bob:secret') }, 5);
equal(main::wrong('bob', 1), '429', 'as a wrong one is');

=== 28: guesses that find no place in the hashing queue count: a right password is not told from them
--- skip_valgrind: hashing takes long there
--- http_config eval
main::limited('3 60s') . "    registry_auth_hashing threads=1 queue=4;\n"
--- config eval
Harness::Zone::zone_config() . '    location = /status { registry_auth off; registry_auth_status; }'
--- redis eval
"HSET docker-registry:user:dave password $main::BCRYPT\n"
    . CORE::join('', map {"HSET docker-registry:user:slow$_ password $main::SLOW\n"} 1, 2)
--- after
in_each_worker('dave:correct horse');
# One that is being hashed, and one that has the place of this address in the queue.
my @slow = main::sent('slow1:wrong');
soon('the thread is busy', '1 0', sub { main::hashing() }, 10);
push @slow, main::sent('slow2:wrong');
soon('and one waits', '1 1', sub { main::hashing() }, 10);
equal(main::wrong('dave', 1 .. 3), '429 429 429', 'the share of this address is full');
equal(main::wrong('dave', 4), '429', 'a fourth one');
equal(main::status('dave:correct horse'), '429', 'the right one');
close $_ for @slow;

=== 28: nor is it told from guesses that Redis is too slow for
--- http_config eval
'    registry_auth_redis redis://127.0.0.1:$TEST_NGINX_REDIS_PORT timeout=200ms;' . "\n"
    . main::limited('3 60s')
--- after
in_each_worker($_) for 'alice:secret', 'bob:secret';
redis('CLIENT PAUSE 1200');
equal(main::tally(map { $_->{status} } http_many(3, 'GET /v2/', login => 'alice:guess%d')), '503 3',
    'nobody knows');
equal(main::wrong('alice', 'another'), '429', 'they count');
equal(main::status('alice:secret'), '429', 'the right one');
equal(main::status('bob:secret'), '200', 'another user');
soon('Redis answers again', '200', sub { main::status('carol:secret') }, 10);
equal(main::status('alice:secret'), '429', 'and later');

=== what comes while guesses are under way may come again soon
--- http_config eval
main::limited('1 60s')
--- redis eval
"HSET docker-registry:user:dave password $main::BCRYPT\n"
--- after
in_each_worker('warm:secret');
my %wait = map { header($_, 'Retry-After') => 1 } grep { $_->{status} == 429 } http_many(8, 'GET /v2/',
    login => 'dave:guess%d');
equal(scalar(grep { !/^(?:1|59|60)$/ } keys %wait), 0, join ' ', 'Retry-After', sort keys %wait);

=== many logins at once with the right password: none is counted
--- redis eval
"HSET docker-registry:user:dave password $main::BCRYPT\n"
--- after
in_each_worker('warm:secret');
for (1 .. 3) {
    equal(main::tally(map { $_->{status} } http_many(32, 'GET /v2/', login => 'dave:correct horse')),
        '200 32', 'all at once');
    redis("HSET docker-registry:user:dave password $main::BCRYPT grant:x/$_ pull");
}
equal(main::wrong('dave', 1 .. 4), '401 401 401 429', 'wrong ones');

=== an address has a limit for all users together: ten times the other one by default
--- needs: --with-http_realip_module
--- http_config eval
main::limited('2 60s')
--- config eval
$main::REALIP . Harness::Zone::zone_config()
--- after
equal(main::tally(map { main::from('192.0.2.1', "nobody$_:wrong") } 1 .. 25), '401 20, 429 5',
    'made-up names');
equal(main::from('192.0.2.1', 'alice:secret'), '429', 'alice, from this address');
equal(main::from('192.0.2.1', ''), '401', 'nobody in particular');

=== and one that is set: for this address, not for others
--- needs: --with-http_realip_module
--- http_config eval
main::limited('2 60s address=3')
--- config eval
$main::REALIP . Harness::Zone::zone_config()
--- after
in_each_worker('warm:secret');
equal(join(' ', map { main::from('192.0.2.1', "nobody$_:wrong") } 1 .. 4), '401 401 401 429', 'three names');
equal(main::from('192.0.2.1', 'warm:secret'), '429', 'who is known, from there');
equal(main::from('192.0.2.2', 'warm:secret'), '200', 'from elsewhere');
equal(main::tally(map { $_->{status} } http_many(50, 'GET /v2/', login => 'none%d:wrong',
    headers => "X-Real-IP: 192.0.2.3\n")),
    '401 3, 429 47', 'many at once');

=== IPv6 is counted by 64 bits, IPv4 by address
--- needs: --with-http_realip_module
--- config eval
$main::REALIP . Harness::Zone::zone_config()
--- after
equal(join(' ', map { main::from("2001:db8::$_", "alice:wrong$_") } 1 .. 4), '401 401 401 429',
    'one network');
equal(main::from('2001:db8::ffff:1', 'alice:secret'), '429', 'all of it');
equal(main::from('2001:db8:0:1::1', 'alice:secret'), '200', 'the next one');
equal(join(' ', map { main::from("::ffff:192.0.2.$_", "bob:wrong$_") } 1 .. 4), '401 401 401 401',
    'IPv4 in IPv6');
equal(main::from('192.0.2.1', 'bob:secret'), '200', 'each has its own count');

=== made-up names do not push out a counter that has reached its limit, nor do made-up access tokens
--- needs: --with-http_realip_module
--- http_config eval
main::limited('3 60s', "zone=auth:$main::SMALLEST")
--- config eval
$main::REALIP . Harness::Zone::zone_config()
--- after
equal(join(' ', map { main::from('192.0.2.1', "alice:wrong$_") } 1 .. 4), '401 401 401 429', 'the limit');
main::from("198.51.100.$_", "made-up$_:wrong") for 1 .. 200;
my $token = Harness::Token::access_token();
equal(main::tally(map { main::from('192.0.2.1', "made-up$_:$token") } 1 .. 200), '401 200',
    'access tokens are not guessed');
equal(main::from('192.0.2.1', 'alice:secret'), '429', 'still there');

=== where there is no room for more blocks, whole networks are blocked: nobody is free early
--- needs: --with-http_realip_module
--- http_config eval
main::limited('3 60s', "zone=auth:$main::SMALLEST")
--- config eval
$main::REALIP . Harness::Zone::zone_config()
--- after
my @clients = ((map {"192.0.2.$_"} 1 .. 20), map {"2001:db8:1:$_\::1"} 1 .. 20);
for my $client (@clients) {
    main::from($client, "alice:wrong$_") for 1 .. 3;
}
equal(main::tally(map { main::from($_, 'alice:secret') } @clients), '429 40', 'all who guessed');
equal(main::from($_, 'bob:secret'), '429', "$_: beside them, for all users")
    for '192.0.2.99', '2001:db8:1:99::';
equal(main::from($_, 'alice:secret'), '200', "$_: of another network") for '192.0.3.1', '2001:db8:2::1';

=== while Redis is gone a guess that the cache could have answered counts
--- http_config eval
main::limited('3 60s', 'zone=auth:1m stale=60s')
--- after
in_each_worker($_) for 'warm:secret', 'alice:secret';
redis_server()->stop;
soon('Redis is gone', '200 STALE', sub { asked('warm:secret') }, 10);
soon('in each worker', '503', sub { everywhere('nobody:secret') }, 10);
equal(main::wrong('alice', 1 .. 4), '503 503 503 429', 'the limit');
equal(main::status('alice:secret'), '429', 'no oracle here either');
equal(main::status('warm:secret'), '200', 'another user');
redis_server()->start;
redis('HSET docker-registry:user:alice password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=');
redis('HSET docker-registry:user:warm password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=');
soon('Redis is back', '200', sub { main::status('warm:secret') }, 5);

=== the right password itself is never counted
--- after
equal(main::wrong('alice', ('secret') x 10), join(' ', ('200') x 10), 'the right one');
equal(main::wrong('alice', 1 .. 2, 'secret', 3, 'secret'), '401 401 200 401 429', 'and then');

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
equal(main::from('192.0.2.1', 'alice:secret'), '429', 'verified from elsewhere: blocked here all the same');
equal(join(' ', map { main::from('192.0.2.3', "alice:wrong$_") } 1 .. 4), '401 401 401 429',
    'a third address');

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
equal(main::wrong('alice', 1 .. 2), '401 401', 'two are accepted');
soon('the right password is let in', '200', sub { main::status('alice:secret') }, 5);
soon('wrong ones are counted anew', '401', sub { main::wrong('alice', 4) }, 5);

=== Retry-After says when that is
--- http_config eval
main::limited('1 3s')
--- after
equal(main::wrong('alice', 1), '401', 'one is accepted');
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
    $seen{ main::from("2001:db8:0:$i\::1", "alice:wrong$i") }++;
}
equal(join(' ', %seen), '401 800', 'each is refused so');
equal(main::from('192.0.2.2', 'alice:secret'), '200', 'alice');
equal(join(' ', map { main::from('192.0.2.2', "bob:wrong$_") } 1 .. 4), '401 401 401 429',
    'and it still counts');
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

=== a flood of refusals: ten lines a second of an address, then how many more
--- http_config eval
main::limited('1 60s')
--- after
equal(main::status('alice:wrong1'), '401', 'the limit');
my $began = Time::HiRes::time();
http_many(150, 'GET /v2/', login => 'alice:wrong2') for 1 .. 2;
my ($lines, $more) = (0, 0);
soon('each is logged, or counted', 300, sub {
    ($lines, $more) = (0, 0);
    for my $line (grep {/too many failed logins/} split /\n/, nginx_server()->new_errors) {
        $line =~ /: (\d+) times more in a second, client: 127\.0\.0\.1/ ? ($more += $1) : $lines++;
    }
    return $lines + $more;
}, 5);
my $seconds = Time::HiRes::time() - $began + 1;
equal($lines >= 10 && $lines <= 10 * $seconds ? 1 : 0, 1, "ten lines a second: $lines");
