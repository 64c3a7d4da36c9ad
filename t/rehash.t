# registry_auth_rehash: a weak stored hash becomes argon2id at its owner's next
# right password, where it is on, and no request depends on whether it does.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;
use Harness::Token qw(token token_config with_token);

our $SHA   = '{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=';           # secret

# The form of what is stored: its first characters.
sub form { return substr(redis('HGET docker-registry:user:alice password') // '', 0, 31) }

our $BCRYPT = '$2y$05$bxi8B2zI6sxLgtHkV2uxQOTbz87Fe0uab9wY/mIM4SwFYm67ExcMK';    # correct horse

our $ARGON2 = '$argon2id$v=19$m=19456,t=2,p=1$';

sub status_of { return http('GET /v2/', login => $_[0])->{status} }

sub rehash { return gate_http() . "    registry_auth_rehash on;\n" }

defaults(
    config   => gate_config(),
    accounts => "alice:secret\n",
    login    => 'alice:secret',
    request  => 'GET /v2/',
);
run_tests();

__DATA__
=== it is replaced at the first right password, which stays the right one
--- http_config eval
main::rehash()
--- redis
HSET docker-registry:user:alice grant:team/* pull
--- login eval
[ 'alice:wrong', 'alice:secret' ]
--- request eval
[ 'GET /v2/', 'GET /v2/team/app/tags/list' ]
--- error_code eval
[ 401, 200 ]
--- after
main::soon('what is stored', $main::ARGON2, \&main::form, 10);
main::equal(http('GET /v2/team/app/tags/list', login => 'alice:secret')->{status}, 200, 'afterwards');
main::equal(http('GET /v2/', login => 'alice:wrong')->{status}, 401, 'a wrong one afterwards');
main::equal(redis('HGET docker-registry:user:alice grant:team/*'), 'pull', 'the grant');

=== where others replace it, every worker goes on to let its owner in
--- http_config eval
main::zone_http('zone=auth:1m') . "    registry_auth_rehash on;\n"
--- config eval
main::zone_config()
--- workers: 2
--- restart
--- after
my %seen;
main::soon('what is stored', $main::ARGON2,
    sub { $seen{ main::everywhere('alice:secret') } = 1; main::form() }, 10);
$seen{ main::everywhere('alice:secret') } = 1 for 1 .. 10;
main::equal(join(', ', sort keys %seen), 200, 'all answers');

=== where nobody tells the others (changes=channel), they go on by the old hash, and replace it no more
--- http_config eval
main::zone_http('zone=auth:1m ttl=1s') . "    registry_auth_rehash on;\n"
    . '    registry_auth_redis redis://127.0.0.1:$TEST_NGINX_REDIS_PORT changes=channel;' . "\n"
--- config eval
main::zone_config()
--- workers: 2
--- restart
--- request eval
[]
--- after
main::in_each_worker('alice:secret');
main::soon('what is stored', $main::ARGON2, \&main::form, 10);
my $stored = redis('HGET docker-registry:user:alice password');
main::always('before ttl is over', 200, sub { main::everywhere('alice:secret') });
main::equal(main::everywhere('alice:wrong'), 401, 'a wrong one');
# Each of them has read the new hash.
main::soon('after ttl', '200 MISS', sub { main::asked('alice:secret') }, 5) for 1 .. 3;
main::equal(main::everywhere('alice:wrong'), 401, 'a wrong one afterwards');
main::equal(redis('HGET docker-registry:user:alice password'), $stored, 'what is stored afterwards');

=== tokens of the same password stay valid, and end with the next password
--- http_config eval
main::zone_http("zone=auth:1m") . "    registry_auth_rehash on;\n"
--- config eval
main::token_config()
--- request eval
[]
--- after
my $token = main::token('alice:secret');
main::soon('what is stored', $main::ARGON2, \&main::form, 10);
main::always('a token of before', 200, sub { main::with_token($token)->{status} });
main::equal(main::with_token(main::token('alice:secret'))->{status}, 200, 'a token of afterwards');
redis('HSET docker-registry:user:alice password ' . Harness::Users::sha('another'));
main::soon('both, after a new password', '401 401',
    sub { join ' ', map { main::with_token($_)->{status} } $token, $token });

=== another password that is hashed with the same salt ends the one before, which is known
--- http_config eval
main::zone_http("zone=auth:1m") . "    registry_auth_rehash on;\n"
--- config eval
main::zone_config()
--- request eval
[]
--- after
main::equal(main::status_of('alice:secret'), 200, 'at first');
main::soon('what is stored', $main::ARGON2, \&main::form, 10);
main::always('known', 200, sub { main::status_of('alice:secret') });
my $stored = redis('HGET docker-registry:user:alice password');
# What a program stores that keeps the salt: it is the digest that differs.
$stored =~ s/[^\$]+\z/'A' x 43/e;
redis("HSET docker-registry:user:alice password $stored");
main::soon('the one before', 401, sub { main::status_of('alice:secret') });
main::always('it', 401, sub { main::status_of('alice:secret') });

=== a hash of the 2014 gate is replaced where it stands
--- http_config eval
main::rehash()
--- redis
DEL docker-registry:user:alice
HSET docker-registry:passwords alice e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4
--- after
main::soon('what is stored', $main::ARGON2,
    sub { substr redis('HGET docker-registry:passwords alice'), 0, 31 }, 10);
main::equal(redis('EXISTS docker-registry:user:alice'), 0, 'records of the user');

=== no login waits for a place behind it
--- http_config eval
main::rehash() . "    registry_auth_hashing threads=1 queue=4;\n"
--- accounts eval
CORE::join '', map {"$_:secret\n"} 'alice', map {"u$_"} 1 .. 8
--- redis eval
"HSET docker-registry:user:carol password $main::BCRYPT"
--- login eval
[ (map {"u$_:secret"} 1 .. 8), 'carol:correct horse' ]
--- request eval
[ ('GET /v2/') x 9 ]
--- error_code eval
[ (200) x 9 ]
--- after
my $replaced = sub { scalar grep { redis("HGET docker-registry:user:u$_ password") =~ /^.argon2/ } 1 .. 8 };
main::soon('how many are replaced', 8, $replaced, 20);

=== off by default: it stays
--- http_config eval
main::gate_http()
--- wait: 0.3
--- after
main::equal(redis('HGET docker-registry:user:alice password'), $main::SHA, 'what is stored');

=== where Redis refuses it, the log says what is missing, and the request goes on
--- http_config eval
main::rehash()
    . '    registry_auth_redis redis://gate:pw@127.0.0.1:$TEST_NGINX_REDIS_PORT timeout=2s '
    . 'connect_timeout=2s;'
--- redis
ACL SETUSER gate on >pw ~* +hgetall +hmget +lrange +ping +select +hello +client|tracking
--- request eval
[ 'GET /v2/', 'GET /v2/' ]
--- error_code eval
[ 200, 200 ]
--- restart
--- error_log
[warn]
weak password hashes stay, as Redis does not let registry_auth_rehash replace them (NOPERM
the Redis user of nginx needs +hmget +watch +multi +exec +hset and the right to write P:user:* and P:passwords
--- no_error_log
[error]
--- after
main::soon('the log', 1, sub { nginx_server()->since('error') =~ /weak password hashes stay/ ? 1 : 0 }, 10);
main::equal(redis('HGET docker-registry:user:alice password'), $main::SHA, 'what is stored');
