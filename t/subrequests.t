# nginx asks nobody for a password by a subrequest: it has no access phase there. So one may enter a gated
# location only where the request itself has passed a gate of the same accounts.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;

our $PASS = 'proxy_pass http://registry; proxy_set_header Authorization "";';
our $GATE = "location /v2/ { registry_auth R; $PASS }";
our $FREE = $PASS =~ s/registry;/127.0.0.1:\$TEST_NGINX_BACKEND_B_PORT;/r;

defaults(
    http_config => 'upstream registry { server 127.0.0.1:$TEST_NGINX_BACKEND_PORT; }',
    config      => $GATE,
    accounts    => "alice:secret\n",
);
run_tests();

__DATA__
=== auth_request to a gated location opens nothing, to nobody and to no user, and the log says why
--- needs: --with-http_auth_request_module
--- config eval
"$main::GATE location /ui/ { auth_request /v2/; $main::FREE }"
--- login eval
[ undef, 'alice:secret', 'alice:wrong' ]
--- request eval
[ ('GET /ui/x') x 3 ]
--- error_code: 403
--- error_log
registry_auth: a subrequest is refused, for the request itself has not passed "registry_auth" of the same

=== nor does one to the page that says whether logins can be decided, or to the token endpoint
--- needs: --with-http_auth_request_module
--- config eval
"registry_auth R; registry_auth_bearer http://localhost/token;"
    . "location = /token { registry_auth_token; } location = /health { registry_auth_health; }"
    . "location /a/ { registry_auth off; auth_request /health; $main::FREE }"
    . "location /b/ { registry_auth off; auth_request /token; $main::FREE }"
--- http_config eval
'registry_auth_cache zone=auth:1m;'
--- login: alice:secret
--- request eval
[ 'GET /a/', 'GET /b/' ]
--- error_code: 403

=== one of a request that has passed the same gate goes on; what is public, too
--- needs: --with-http_auth_request_module
--- config eval
"registry_auth R; location /v2/ { auth_request /check; $main::PASS }"
    . "location = /check { internal; $main::PASS }"
--- redis
HSET docker-registry:group:public grant:public/** pull
--- login eval
[ 'alice:secret', undef, undef, 'alice:wrong', 'alice:secret' ]
--- request eval
[ map {"GET /v2/$_/tags/list"} qw(alice/x public/x alice/x alice/x bob/x) ]
--- error_code eval
[ 200, 200, 401, 401, 403 ]

=== also in a location without a gate, to which it was moved; not where it was refused
--- needs: --with-http_auth_request_module
--- config eval
"location /v2/ { registry_auth R; error_page 401 403 = \@moved; try_files /none \@moved; }"
    . "location \@moved { auth_request /check; $main::FREE }"
    . "location = /check { internal; registry_auth R; $main::PASS }"
--- login eval
[ 'alice:secret', undef, 'alice:secret' ]
--- request eval
[ map {"GET /v2/$_/tags/list"} qw(alice/x alice/x bob/x) ]
--- error_code eval
[ 200, 403, 403 ]

=== not one into a location of other accounts
--- needs: --with-http_auth_request_module
--- config eval
"registry_auth R; location /v2/ { auth_request /check; $main::PASS }"
    . "location = /check { internal; registry_auth_prefix other; $main::PASS }"
--- login: alice:secret
--- request
GET /v2/alice/x/tags/list
--- error_code: 403

=== where another module has let the request in, the gate has not
--- needs: --with-http_auth_request_module
--- config eval
"location /v2/ { registry_auth R; satisfy any; allow all; mirror /copy; $main::PASS }"
    . "location = /copy { internal; registry_auth R; $main::FREE }"
--- request
GET /v2/alice/x/tags/list
--- error_code: 200
--- error_log
registry_auth: a subrequest is refused

=== nor one by which a cache is brought up to date, and which error_page moves there
--- http_config eval
'upstream registry { server 127.0.0.1:$TEST_NGINX_BACKEND_PORT; }'
    . 'proxy_cache_path $TEST_NGINX_SERVROOT/kept keys_zone=kept:1m;'
--- config eval
"registry_auth R; location /v2/ { proxy_cache kept; proxy_cache_valid 200 1s; proxy_cache_use_stale updating;"
    . " proxy_cache_background_update on; proxy_intercept_errors on; error_page 404 = \@other; $main::PASS }"
    . "location \@other { registry_auth_prefix other; proxy_intercept_errors off; $main::FREE }"
--- login: alice:secret
--- request
GET /v2/alice/x/tags/list
--- error_code: 200
--- after
Harness::backend()->begin("status: 404\n");
soon('the cache asks for the answer anew', 1, sub {
    http('GET /v2/alice/x/tags/list', login => 'alice:secret');
    scalar grep { $_->{backend} eq 'A' } @{ Harness::backend()->received };
}, 10);
soon('the log says why it goes no further', 1, sub {
    Harness::nginx_server()->new_errors =~ /registry_auth: a subrequest is refused/ ? 1 : 0;
}, 5);
equal(scalar(grep { $_->{backend} eq 'B' } @{ Harness::backend()->received }), 0, 'the other registry');
