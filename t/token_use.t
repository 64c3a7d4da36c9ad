# registry_auth_token_use: the day on which an access token was last used is
# written to Redis, where it is on, and no request depends on whether it can be.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;

# The token of 32 times '7', and its digest.
our $TOKEN  = 'rga_777777777777777777777777777777770zq5d0';
our $DIGEST = '9f91229934b4a67b9f254be59686926b7849dd87b180aba9377e5dbc256d6b52';

sub stored {
    my ($expires) = @_;
    return qq{HSET docker-registry:user:ci token:old "sha256=$DIGEST expires=$expires scope=ci/*:pull"\n};
}

sub day { my $time = time; return $time - $time % 86400 }

# What is stored of the token's use.
sub last_use { return redis('HGET docker-registry:token-use ci:old') // 'nothing' }

sub hsets {
    return redis('INFO commandstats') =~ /^cmdstat_hset:calls=(\d+)/m ? $1 : 0;
}

defaults(
    config  => gate_config(),
    redis   => stored(9_000_000_000),
    login   => "ci:$TOKEN",
    request => 'GET /v2/ci/app/tags/list',
);
run_tests();

__DATA__
=== the first use of a day is written, the others are not
--- http_config eval
main::gate_http() . "    registry_auth_token_use on;\n"
--- init
our ($before, $day) = (main::hsets(), main::day());
--- error_code: 200
--- after
main::soon('the day is written', 'yes', sub { main::last_use() >= $main::day ? 'yes' : 'no' });
http('GET /v2/ci/app/tags/list', login => "ci:$main::TOKEN") for 1 .. 5;
main::equal(main::hsets() - $main::before, 1, 'HSET');

=== and so it is where the answer is kept in the zone
--- http_config eval
main::zone_http('zone=auth:1m') . "    registry_auth_token_use on;\n"
--- after
main::soon('the day is written', 'yes', sub { main::last_use() >= main::day() - 86400 ? 'yes' : 'no' });

=== a use that is refused for the token's scopes is one
--- http_config eval
main::gate_http() . "    registry_auth_token_use on;\n"
--- request
PUT /v2/ci/app/manifests/v1
--- error_code: 403
--- after
main::soon('the day is written', 'yes', sub { main::last_use() =~ /^\d+$/ ? 'yes' : 'no' });

=== one that has expired was not used
--- http_config eval
main::gate_http() . "    registry_auth_token_use on;\n"
--- redis eval
main::stored(1_700_000_000)
--- error_code: 401
--- wait: 0.2
--- after
main::equal(main::last_use(), 'nothing', 'the last use');

=== off by default: nothing is written
--- http_config eval
main::gate_http()
--- error_code: 200
--- wait: 0.2
--- after
main::equal(main::last_use(), 'nothing', 'the last use');

=== what Redis refuses is said at notice, and the request goes on
--- http_config eval
main::gate_http() . "    registry_auth_token_use on;\n"
--- redis eval
main::stored(9_000_000_000) . "SET docker-registry:token-use x\n"
--- error_code: 200
--- restart
--- wait: 0.5
--- error_log
[notice]
the last use of access tokens is not recorded in docker-registry:token-use, as Redis refuses it: WRONGTYPE
--- no_error_log
[error]
