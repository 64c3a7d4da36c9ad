# Rule 18: no password, digest or Authorization header in what we
# write to error.log, at any level. nginx itself prints each header at debug
# level, so its own lines are left out of the search.
use strict;
use warnings;
use lib 't/lib';
use Harness;

# Everything that must not be seen, in any spelling that a log might have.
our @SECRETS = (
    'S3cret-Passw0rd', 'Wrong-Passw0rd',                                  # passwords
    'YWxpY2U6UzNjcmV0LVBhc3N3MHJk', 'YWxpY2U6V3JvbmctUGFzc3cwcmQ=',       # alice:password
    'OIP7DG3lJtTcILD8WwMkWnWi8ME=', 'bxi8B2zI6sxLgtHkV2uxQOTbz87Fe0uab9wY', 'hunter2',
);

# The lines of nginx that quote the request, at debug level.
sub ours {
    my $quoting = qr/http header: "|http header line: |http2 header: |http proxy header|"\w+: |posted:/;
    return join "\n", grep { !/$quoting|http header done/ } split /\n/, nginx_server()->new_errors;
}

sub search {
    my $log = ours();
    for my $secret (@SECRETS) {
        my ($line) = grep { index($_, $secret) >= 0 } split /\n/, $log;
        die "'$secret' is in the log: $line\n" if defined $line;
    }
}

defaults(
    http_config => gate_http(),
    config      => gate_config(),
    redis       => "HSET docker-registry:user:alice password " . Harness::Users::sha('S3cret-Passw0rd')
        . "\n",
);
run_tests();

__DATA__
=== rule 18: at debug level, granted and refused
--- log_level: debug
--- login eval
[ "alice:S3cret-Passw0rd", "alice:Wrong-Passw0rd", "bob:Wrong-Passw0rd", "alice:S3cret-Passw0rd",
  "alice:S3cret-Passw0rd" ]
--- request eval
[ ("GET /v2/") x 3, "GET /v2/bob/x/tags/list", "GET /v2/alice/../x" ]
--- error_code eval
[ 200, 401, 401, 403, 400 ]
--- after
main::search();
--- error_log
registry_auth

=== rule 18: at info level nothing at all quotes them, nginx included
--- login eval
[ "alice:S3cret-Passw0rd", "alice:Wrong-Passw0rd", "bob:Wrong-Passw0rd", "alice:S3cret-Passw0rd" ]
--- request eval
[ ("GET /v2/") x 3, "GET /v2/bob/x/tags/list" ]
--- error_code eval
[ 200, 401, 401, 403 ]
--- no_error_log
S3cret-Passw0rd
Wrong-Passw0rd
YWxpY2U6
OIP7DG3lJtTcILD8WwMkWnWi8ME=

=== rule 18: a digest that cannot be read is not quoted
--- log_level: debug
--- redis
HSET docker-registry:user:alice password bogus:OIP7DG3lJtTcILD8WwMkWnWi8ME=
HSET docker-registry:user:bob password $2y$99$bxi8B2zI6sxLgtHkV2uxQOTbz87Fe0uab9wY/mIM4SwFYm67ExcMK
HSET docker-registry:passwords carol S3cret-Passw0rd
--- login eval
[ "alice:S3cret-Passw0rd", "bob:Wrong-Passw0rd", "carol:S3cret-Passw0rd" ]
--- request eval
[ ("GET /v2/") x 3 ]
--- error_code_like: ^(?:401|503)$
--- after
main::search();

=== rule 18: nor a header that cannot be read
--- log_level: debug
--- request eval
[ ("GET /v2/") x 4 ]
--- more_headers eval
[ "Authorization: Bearer S3cret-Passw0rd", "Authorization: Basic S3cret-Passw0rd",
  "Authorization: S3cret-Passw0rd", "Authorization: Basic " . "YWxpY2U6UzNjcmV0LVBhc3N3MHJk" x 200 ]
--- error_code: 401
--- after
main::search();

=== rule 18: while Redis is down
--- log_level: debug
--- init
redis_server()->stop;
--- login: alice:S3cret-Passw0rd
--- request
GET /v2/
--- error_code: 503
--- after
main::search();

=== rule 18: the password of Redis
--- log_level: debug
--- http_config eval
Harness::gate_http() . '    registry_auth_redis redis://default:hunter2@127.0.0.1:$TEST_NGINX_REDIS_PORT;'
--- restart
--- login: alice:S3cret-Passw0rd
--- request
GET /v2/
--- error_code_like: ^(?:200|503)$
--- after
main::search();

=== rule 18: nothing of it in answers
--- login eval
[ "alice:Wrong-Passw0rd", "alice:S3cret-Passw0rd" ]
--- request eval
[ "GET /v2/", "GET /v2/bob/x/tags/list" ]
--- error_code eval
[ 401, 403 ]
--- response_body_unlike: Passw0rd|YWxp|OIP7

=== rule 17: a user that was not verified is no part of a log line of ours
--- login eval
[ "evil-user:x", "evil-user\x{c2}\x{85}forged:x" ]
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code: 401
--- no_error_log
evil-user
