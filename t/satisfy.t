# `satisfy any` and `all` with allow/deny and auth_basic: a denial is an access
# phase verdict like any other, and allow/deny are asked before Redis is.
use strict;
use warnings;
use lib 't/lib';
use Harness;

sub location {
    my ($directives) = @_;
    return gate_config($directives);
}

defaults(
    http_config => gate_http(),
    accounts    => "alice:secret\n",
    user_files  => ">>> users\noperator:" . Harness::Users::sha('letmein') . "\n",
);
run_tests();

__DATA__
=== satisfy any: an allowed address needs no credentials
--- config eval
main::location('satisfy any; allow 127.0.0.1; deny all;')
--- request eval
[ "GET /v2/", "GET /v2/bob/x/tags/list", "PUT /v2/bob/x/manifests/v1" ]
--- forwarded: 1
--- response_headers
!WWW-Authenticate

=== satisfy any: a denied address passes with credentials
--- config eval
main::location('satisfy any; deny all;')
--- login eval
[ "alice:secret", "alice:secret", "alice:bad", "" ]
--- request eval
[ "GET /v2/", "GET /v2/alice/x/tags/list", "GET /v2/", "GET /v2/" ]
--- error_code eval
[ 200, 200, 401, 401 ]
--- response_headers eval
[ "!WWW-Authenticate", "!WWW-Authenticate", 'WWW-Authenticate: Basic realm="Registry"',
  'WWW-Authenticate: Basic realm="Registry"' ]
--- oci_error eval
[ undef, undef, "UNAUTHORIZED", "UNAUTHORIZED" ]

=== satisfy any: a denied address without the right is 403 DENIED
--- config eval
main::location('satisfy any; deny all;')
--- login: alice:secret
--- request
GET /v2/bob/x/tags/list
--- error_code: 403
--- oci_error: DENIED
--- forwarded: 0
--- response_headers
!WWW-Authenticate

=== satisfy any: what is not canonical or no route is refused even so
--- config eval
main::location('satisfy any; deny all;')
--- login: alice:secret
--- request eval
[ "GET /v2/alice/../bob/x/tags/list", "GET /nothing" ]
--- error_code eval
[ 400, 404 ]
--- forwarded: 0

=== satisfy all: both are needed
--- config eval
main::location('satisfy all; allow 127.0.0.1; deny all;')
--- login eval
[ "alice:secret", "alice:bad", "" ]
--- request eval
[ ("GET /v2/") x 3 ]
--- error_code eval
[ 200, 401, 401 ]

=== satisfy all: a denied address is 403 whatever it knows
--- config eval
main::location('deny all;')
--- login eval
[ "alice:secret", "alice:bad", "" ]
--- request eval
[ ("GET /v2/") x 3 ]
--- error_code: 403
--- forwarded: 0
--- error_log
access forbidden by rule

=== allow/deny come first: a denied address costs no lookup
--- config eval
main::location('deny all;')
--- init
redis('CONFIG RESETSTAT');
--- login: alice:secret
--- request
GET /v2/
--- error_code: 403
--- response_headers
!WWW-Authenticate
--- after
my $stat = redis('INFO commandstats');
die "Redis was asked: $stat" if $stat =~ /cmdstat_h(?:getall|get|mget)/;

=== satisfy any with an allowed address costs no lookup either
--- config eval
main::location('satisfy any; allow all;')
--- init
redis('CONFIG RESETSTAT');
--- login: alice:secret
--- request
GET /v2/
--- after
my $stat = redis('INFO commandstats');
die "Redis was asked: $stat" if $stat =~ /cmdstat_h(?:getall|get|mget)/;

=== satisfy any with auth_basic: either one's users
--- config eval
main::location('satisfy any; auth_basic "Operators"; auth_basic_user_file html/users;')
--- login eval
[ "operator:letmein", "alice:secret", "operator:bad", "" ]
--- request eval
[ ("GET /v2/") x 4 ]
--- error_code eval
[ 200, 200, 401, 401 ]
--- raw_response_headers_like eval
[ qr/./, qr/./, qr/WWW-Authenticate: Basic realm=/, qr/WWW-Authenticate: Basic realm=/ ]
--- raw_response_headers_unlike eval
[ qr/WWW-Authenticate/, qr/WWW-Authenticate/, qr/X-Nothing/, qr/X-Nothing/ ]

=== satisfy all with auth_basic: both need it
--- config eval
main::location('auth_basic "Operators"; auth_basic_user_file html/users;')
--- accounts
alice:secret
operator:letmein
--- login eval
[ "operator:letmein", "alice:secret" ]
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code eval
[ 200, 401 ]

=== with auth_request beside it
--- needs: --with-http_auth_request_module
--- config eval
main::location('satisfy any; auth_request /check;') . "location = /check { internal; return 403; }\n"
--- login eval
[ "alice:secret", "", "alice:bad" ]
--- request eval
[ ("GET /v2/") x 3 ]
--- error_code eval
[ 200, 401, 401 ]
--- forwarded eval
[ 1, 0, 0 ]

=== nginx has no access phase for a subrequest: where nobody has passed a gate, it goes nowhere
--- needs: --with-http_auth_request_module
--- config eval
main::location('') . <<'EOC'
        location = /outer {
            auth_request /v2/;
            proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT;
        }
EOC
--- login eval
[ "alice:secret", "" ]
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- request eval
[ ("GET /outer") x 2 ]
--- error_code: 403
--- forwarded eval
[ 0, 0 ]

=== satisfy any: an allowed address passes while Redis is down, others get 503
--- http_config eval
Harness::gate_http() . '    registry_auth_redis redis://127.0.0.1:$TEST_NGINX_DEAD_PORT timeout=300ms;'
--- config eval
main::location('satisfy any; allow 127.0.0.1; deny all;') . <<'EOC'
        location /v1/ {
            satisfy any; deny all;
            registry_auth "Registry";
            proxy_pass http://registry;
        }
EOC
--- login: alice:secret
--- request eval
[ "GET /v2/", "GET /v1/users/" ]
--- error_code eval
[ 200, 503 ]
