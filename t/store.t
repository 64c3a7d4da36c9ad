# Rules 22 and 24: a store that is down, slow, not ready
# or holds what cannot be read gives 503 with Retry-After, never 401; it is
# found again without a restart; a malformed record is logged once by its key.
use strict;
use warnings;
use lib 't/lib';
use Harness;

sub at {
    my ($url) = @_;
    my $limit = Harness::Valgrind::wanted() ? 3000 : 400;
    return gate_http() . "    registry_auth_redis $url timeout=${limit}ms connect_timeout=${limit}ms;\n";
}

# How long until a request is answered so, in seconds.
sub until_status {
    my ($status, $limit) = @_;
    my $start = Time::HiRes::time();
    while (1) {
        my $answer = http('GET /v2/', login => 'alice:secret');
        my $time = Time::HiRes::time() - $start;
        return $time if $answer->{status} == $status;
        die "still $answer->{status} after $time s\n" if $time > Harness::Valgrind::timeout($limit);
        Time::HiRes::sleep(0.02);
    }
}

defaults(
    http_config => gate_http(),
    config      => gate_config(),
    accounts    => "alice:secret\nbob:secret\n",
    login       => 'alice:secret',
);
run_tests();

__DATA__
=== rule 22: Redis is not there: 503 UNAVAILABLE, Retry-After, no challenge
--- http_config eval
main::at('redis://127.0.0.1:$TEST_NGINX_DEAD_PORT')
--- request eval
[ "GET /v2/", "GET /v2/alice/app/tags/list", "GET /v2/bob/app/tags/list", "PUT /v2/alice/app/manifests/v1" ]
--- error_code: 503
--- oci_error: UNAVAILABLE
--- response_headers
!WWW-Authenticate
Docker-Distribution-Api-Version: registry/2.0
--- response_headers_like
Retry-After: [1-9]\d*
--- backend_not_received

=== rule 22: what needs no account is answered without it
--- http_config eval
main::at('redis://127.0.0.1:$TEST_NGINX_DEAD_PORT')
--- login:
--- request eval
[ "GET /v2/", "GET /v2/alice/../x/tags/list", "GET /nothing" ]
--- error_code eval
[ 401, 400, 404 ]

=== rule 22: Redis is killed and comes back, nginx stays
--- init
our ($pid) = nginx_server()->workers;
--- request
GET /v2/
--- after
redis_server()->stop;
main::until_status(503, 2);
redis_server()->restart;
redis('HSET docker-registry:user:alice password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=');
my $time = main::until_status(200, 2.5);
my ($now) = nginx_server()->workers;
die "worker $main::pid became $now" if $now != $main::pid;

=== rule 22: Redis hangs: 503 within the timeout, then recovers by itself
--- http_config eval
main::at('redis://127.0.0.1:$TEST_NGINX_REDIS_PORT')
--- request
GET /v2/
--- after
redis_server()->freeze;
for (1 .. 3) {
    my $start = Time::HiRes::time();
    my $answer = http('GET /v2/', login => 'alice:secret');
    my $time = Time::HiRes::time() - $start;
    redis_server()->thaw, die "$answer->{status} after $time s" if $answer->{status} != 503
        || $time > Harness::Valgrind::timeout(1.5);
}
redis_server()->thaw;
main::until_status(200, 2.5);

=== rule 22: a worker without a store answers other requests meanwhile
--- http_config eval
main::at('redis://127.0.0.1:$TEST_NGINX_REDIS_PORT')
--- config eval
Harness::gate_config() . "location = /open { proxy_pass http://127.0.0.1:\$TEST_NGINX_BACKEND_PORT; }\n"
--- login:
--- init
redis_server()->freeze;
our $socket = Harness::Client::connect_to(Harness::expand('$TEST_NGINX_SERVER_PORT'));
Harness::Client::write_all($socket,
    "GET /v2/ HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\nConnection: close\r\n\r\n");
our $start = Time::HiRes::time();
--- request
GET /open
--- after
my $time = Time::HiRes::time() - $main::start;
redis_server()->thaw;
die "/open took $time s" if $time > Harness::Valgrind::timeout(0.3);
my ($answer) = Harness::Client::receive($main::socket, 5, 'GET');
die "waiting request: $answer->{status}" if $answer->{status} !~ /^(?:200|503)$/;

=== rule 22: NOAUTH: 503, not 401
--- restart
--- redis
CONFIG SET requirepass hunter2
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code: 503
--- after
redis('CONFIG SET requirepass ""');
--- error_log
NOAUTH

=== rule 22: a wrong password for Redis: 503, and it is not in the log
--- http_config eval
main::at('redis://:hunter3@127.0.0.1:$TEST_NGINX_REDIS_PORT')
--- restart
--- redis
CONFIG SET requirepass hunter2
--- request
GET /v2/
--- error_code: 503
--- after
redis('CONFIG SET requirepass ""');
--- error_log
the log-in was refused
--- no_error_log
hunter3
hunter2

=== rule 22: Redis withdraws the right to read: 503
--- restart
--- http_config eval
main::at('redis://gate:hunter2@127.0.0.1:$TEST_NGINX_REDIS_PORT')
--- redis
ACL SETUSER gate reset on >hunter2 ~other:* +@read +@connection
--- request
GET /v2/
--- error_code: 503
--- after
redis('ACL DELUSER gate');
--- error_log
NOPERM

=== rule 22: LOADING: 503, not 'wrong password'
--- http_config eval
main::at('redis://127.0.0.1:$TEST_NGINX_FAKE_REDIS_PORT')
--- fake_redis eval
"-LOADING Redis is loading the dataset in memory\r\n"
--- request eval
[ ("GET /v2/") x 3 ]
--- error_code: 503
--- oci_error: UNAVAILABLE
--- error_log
LOADING

=== rule 22: MASTERDOWN and other errors: 503
--- http_config eval
main::at('redis://127.0.0.1:$TEST_NGINX_FAKE_REDIS_PORT')
--- fake_redis eval
"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n"
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code: 503

=== rule 22: garbage: 503
--- http_config eval
main::at('redis://127.0.0.1:$TEST_NGINX_FAKE_REDIS_PORT')
--- fake_redis eval
"HTTP/1.1 400 Bad Request\r\n\r\n\0\xff"
--- request eval
[ ("GET /v2/") x 3 ]
--- error_code: 503

=== rule 22: a reply without end: 503
--- http_config eval
main::at('redis://127.0.0.1:$TEST_NGINX_FAKE_REDIS_PORT')
--- fake_redis eval
"*1000000000\r\n\$1000000000\r\n"
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code: 503

=== rule 22: answers of a wrong type: 503
--- http_config eval
main::at('redis://127.0.0.1:$TEST_NGINX_FAKE_REDIS_PORT')
--- fake_redis eval
":42\r\n"
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code: 503

=== rule 22: Redis closes instead of answering: 503
--- http_config eval
main::at('redis://127.0.0.1:$TEST_NGINX_FAKE_REDIS_PORT')
--- fake_redis: close
--- request eval
[ ("GET /v2/") x 3 ]
--- error_code: 503

=== rule 22: Redis never answers: 503
--- http_config eval
main::at('redis://127.0.0.1:$TEST_NGINX_FAKE_REDIS_PORT')
--- fake_redis: hang
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code: 503

=== rule 22: many at once while Redis hangs: each 503, none hangs
--- http_config eval
main::at('redis://127.0.0.1:$TEST_NGINX_FAKE_REDIS_PORT')
--- fake_redis: hang
--- request
GET /v2/
--- error_code: 503
--- after
my @answer = http_many(100, 'GET /v2/', login => 'alice:secret', timeout => 5);
my @other = grep { $_->{status} != 503 } @answer;
die scalar(@other) . " others: $other[0]{status}" if @other;

=== an emptied Redis: accounts are gone, 401
--- redis
FLUSHALL
--- request
GET /v2/
--- error_code: 401

=== rule 24: a user's record of the wrong type: 503 and one log line naming the key
--- redis
SET docker-registry:user:dave x
--- login: dave:secret
--- request eval
[ ("GET /v2/") x 3 ]
--- error_code: 503
--- oci_error: UNAVAILABLE
--- response_headers
!WWW-Authenticate
--- response_headers_like
Retry-After: [1-9]\d*
--- error_log
docker-registry:user:dave
--- after
Time::HiRes::sleep(0.1);
my @line = grep {/docker-registry:user:dave/} split /\n/, nginx_server()->new_errors;
die scalar(@line) . " lines: @line" if @line != 1;

=== rule 24: others are not concerned
--- redis
SET docker-registry:user:dave x
--- login eval
[ "alice:secret", "dave:secret", "alice:secret" ]
--- request eval
[ ("GET /v2/") x 3 ]
--- error_code eval
[ 200, 503, 200 ]

=== rule 24: P:passwords of the wrong type concerns whoever needs it
--- restart
--- redis
SET docker-registry:passwords x
--- login: erin:secret
--- request
GET /v2/
--- error_code: 503
--- error_log
docker-registry:passwords

=== rule 24: P:backends of the wrong type
--- restart
--- redis
SET docker-registry:backends x
--- request
GET /v2/
--- error_code: 503
--- error_log
docker-registry:backends

=== rule 24: a pattern that is none
--- restart
--- redis eval
my $i = 0;
CORE::join '', map { 'HSET docker-registry:user:p' . $i++
    . " password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ= \"grant:$_\" pull\n" }
    'Team/**', 'team/', '/team', '', 'team//x', '../x', 'a b', '!', '!!x', 'team/***x', "\\xff"
--- login eval
[ map {"p$_:secret"} 0 .. 10 ]
--- request eval
[ ("GET /v2/") x 11 ]
--- error_code: 503
--- error_log
docker-registry:user:p0
docker-registry:user:p10

=== rule 24: an access token that is none
--- redis
HSET docker-registry:user:alice token:ci "sha256=00 expires=1800000000 scope=team/*:pull"
--- request
GET /v2/
--- error_code: 503
--- oci_error: UNAVAILABLE
--- error_log
docker-registry:user:alice cannot be read: field token:ci: 

=== rule 24: actions that are none
--- restart
--- redis eval
my $i = 0;
CORE::join '', map { 'HSET docker-registry:user:a' . $i++
    . " password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ= grant:team/x \"$_\"\n" }
    'read', 'pull,', 'PULL', 'pull push', '', 'pull;push', '**'
--- login eval
[ map {"a$_:secret"} 0 .. 6 ]
--- request eval
[ ("GET /v2/team/x/manifests/v1") x 7 ]
--- error_code: 503
--- error_log
docker-registry:user:a0

=== rule 24: bytes that are not UTF-8
--- restart
--- redis
HSET docker-registry:user:u0 password "\xff\xfe"
HSET docker-registry:user:u1 password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ= backends "\xff:80"
HSET docker-registry:user:u2 password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ= groups "\xff"
--- login eval
[ map {"u$_:secret"} 0 .. 2 ]
--- request eval
[ ("GET /v2/") x 3 ]
--- error_code_like: ^(?:503|401)$
--- error_log
docker-registry:user:u0
docker-registry:user:u1
docker-registry:user:u2

=== fields that are not ours are passed over
--- redis
HSET docker-registry:user:alice comment "hello" email alice@example.org tokens x
--- request
GET /v2/

=== a large record is read
--- redis eval
'HSET docker-registry:user:alice ' . CORE::join(' ', map {"grant:team$_/** pull"} 1 .. 2000) . "\n"
--- request eval
[ map {"GET /v2/team$_/x/tags/list"} 1, 1000, 2000, 2001 ]
--- error_code eval
[ 200, 200, 200, 403 ]

=== a user's name cannot leave its key
--- redis
HSET docker-registry:passwords x {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
HSET evil password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
HSET docker-registry:user:* password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
--- login eval
[ "zz*:secret", "al?ce:secret", "[a]lice:secret", "*:secret", "a b:secret" ]
--- request eval
[ ("GET /v2/x/y/tags/list") x 5 ]
--- error_code eval
[ 401, 401, 401, 403, 401 ]

=== one round trip for a request: the user, P:passwords, public and P:backends, once each
--- init
redis('CONFIG RESETSTAT');
--- request
GET /v2/alice/app/tags/list
--- after
my $stat = redis('INFO commandstats');
my %calls = $stat =~ /^cmdstat_(\w+):calls=(\d+)/mg;
my $sum = 0;
$sum += $calls{$_} // 0 for qw(hgetall hget hmget lrange get smembers keys scan);
die $stat if $sum > 4 || $calls{hgetall} > 2 || ($calls{keys} // 0) || ($calls{scan} // 0);

=== rule 7: a changed password, grant or lock holds for the next request, in every worker
--- workers: 3
--- skip_valgrind: one process there
--- request
GET /v2/
--- after
my $status = sub { join ',',
    do { my %s; $s{ http($_[0], login => $_[1])->{status} }++ for 1 .. 12; sort keys %s } };
die 'before' if $status->('GET /v2/', 'alice:secret') ne '200';
redis('HSET docker-registry:user:alice password {SHA}L55TUjtiq8FBorTWAZ0jy6g129A=');
die 'old password' if $status->('GET /v2/', 'alice:secret') ne '401';
die 'new password' if $status->('GET /v2/', 'alice:correct horse') ne '200';
redis('HSET docker-registry:user:alice grant:team/x pull');
die 'grant' if $status->('GET /v2/team/x/tags/list', 'alice:correct horse') ne '200';
redis('HDEL docker-registry:user:alice grant:team/x');
die 'revoked grant' if $status->('GET /v2/team/x/tags/list', 'alice:correct horse') ne '403';
redis('DEL docker-registry:user:alice');
die 'removed' if $status->('GET /v2/', 'alice:correct horse') ne '401';

=== rule 23: a reload while lookups wait: they are answered by the old worker
--- skip_valgrind: there is no master to reload
--- login:
--- request
GET /v1/_ping
--- after
my ($old) = nginx_server()->workers;
redis_server()->freeze;
my @socket = map { Harness::Client::connect_to(Harness::expand('$TEST_NGINX_SERVER_PORT')) } 1 .. 5;
Harness::Client::write_all($_,
    "GET /v2/ HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\nConnection: close\r\n\r\n")
    for @socket;
Time::HiRes::sleep(0.1);
nginx_server()->reload;
Time::HiRes::sleep(0.3);
redis_server()->thaw;
my @status = map { (Harness::Client::receive($_, 5, 'GET'))[0]{status} } @socket;
die "@status" if grep { $_ != 200 } @status;
die 'after the reload' if http('GET /v2/', login => 'alice:secret')->{status} != 200;
for (1 .. 300) { last unless kill 0, $old; Time::HiRes::sleep(0.01) }
die "worker $old is still there" if kill 0, $old;

=== rule 23: a worker that is killed while lookups wait is replaced
--- skip_valgrind: there is no master to start another
--- restart
--- request
GET /v2/
--- after
my ($old) = nginx_server()->workers;
redis_server()->freeze;
my $socket = Harness::Client::connect_to(Harness::expand('$TEST_NGINX_SERVER_PORT'));
Harness::Client::write_all($socket,
    "GET /v2/ HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\nConnection: close\r\n\r\n");
Time::HiRes::sleep(0.1);
kill 'KILL', $old;
redis_server()->thaw;
Time::HiRes::sleep(0.2);
die 'another worker' if http('GET /v2/', login => 'alice:secret')->{status} != 200;
--- error_log eval
qr/exited on signal 9|shared memory zone \S+ was locked by/

=== clients that go away while Redis is asked leave nothing behind
--- request
GET /v2/
--- after
redis_server()->freeze;
for (1 .. 20) {
    my $socket = Harness::Client::connect_to(Harness::expand('$TEST_NGINX_SERVER_PORT'));
    Harness::Client::write_all($socket,
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n");
    Time::HiRes::sleep(0.005);
    close $socket;
}
redis_server()->thaw;
die 'after them' if http('GET /v2/', login => 'alice:secret')->{status} != 200;
