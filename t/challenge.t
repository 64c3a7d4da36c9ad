# A challenge says where a client sends its password. A backend may be
# anybody's: behind the gate its own challenge never reaches a client, and a
# 401 has exactly one, the gate's.
use strict;
use warnings;
use lib 't/lib';
use Harness;

# A registry that answers with two challenges, on 200 as on 401.
sub registry {
    my ($status) = @_;
    return <<"EOC";
    upstream registry { server 127.0.0.1:\$TEST_NGINX_EXTRA_PORT; }
    server {
        listen 127.0.0.1:\$TEST_NGINX_EXTRA_PORT;
        location / {
            add_header WWW-Authenticate 'Bearer realm="https://elsewhere.example/token"' always;
            add_header www-authenticate 'Basic realm="elsewhere"' always;
            return $status registry;
        }
    }
EOC
}

defaults(
    http_config => registry(401),
    config      => gate_config(),
    accounts    => "alice:secret\n",
);
run_tests();

__DATA__
=== a backend's 401 has the gate's challenge, and no other
--- login: alice:secret
--- request eval
[ "GET /v2/alice/app/tags/list", "HEAD /v2/alice/app/manifests/v1", "GET /v2/" ]
--- error_code: 401
--- response_headers
WWW-Authenticate: Basic realm="Registry"
--- error_log
[error]
the registry asks for a password itself: remove "auth" from the registry's configuration

=== so has the answer to somebody unknown, about what is public
--- redis
HSET docker-registry:group:public grant:** pull
--- request
GET /v2/alice/app/tags/list
--- error_code: 401
--- response_headers
WWW-Authenticate: Basic realm="Registry"
--- response_body chomp
registry

=== with Bearer it names the token endpoint, for this repository
--- http_config eval
"registry_auth_cache zone=a:1m;" . main::registry(401)
--- config eval
Harness::gate_config('registry_auth_bearer https://registry.example.com/token service=registry;')
--- login: alice:secret
--- request
GET /v2/alice/app/tags/list
--- error_code: 401
--- response_headers
WWW-Authenticate: Bearer realm="https://registry.example.com/token",service="registry",scope="repository:alice/app:pull"

=== an answer that is no 401 has none
--- http_config eval
main::registry(200)
--- login: alice:secret
--- request eval
[ "GET /v2/", "GET /v2/alice/app/tags/list", "HEAD /v2/alice/app/manifests/v1", "GET /v1/_ping" ]
--- response_headers
!WWW-Authenticate

=== nor has a refusal of another kind
--- http_config eval
main::registry(403)
--- login: alice:secret
--- request
GET /v2/alice/app/tags/list
--- error_code: 403
--- response_headers
!WWW-Authenticate

=== the same where nginx puts a page of its own in the answer's place
--- config eval
Harness::gate_config('proxy_intercept_errors on; error_page 401 /page;')
    . 'location = /page { internal; return 401 page; }'
--- login: alice:secret
--- request
GET /v2/alice/app/tags/list
--- error_code: 401
--- response_headers_like
WWW-Authenticate: (?!.*elsewhere).*

=== the same where the page comes from a backend, too
--- config eval
Harness::gate_config('proxy_intercept_errors on; error_page 401 = @other;')
    . 'location @other { proxy_pass http://registry; }'
--- login: alice:secret
--- request
GET /v2/alice/app/tags/list
--- error_code: 401
--- response_headers_like
WWW-Authenticate: (?!.*elsewhere).*

=== a location that is not gated is left alone
--- config
location / { proxy_pass http://registry; }
--- request
GET /v2/alice/app/tags/list
--- error_code: 401
--- response_headers_like
WWW-Authenticate: Bearer realm="https://elsewhere.example/token", Basic realm="elsewhere"

=== the challenge of another module of the access phase is the administrator's
--- config eval
Harness::gate_config('auth_request /deny;') . 'location = /deny { internal; proxy_pass http://registry; }'
--- login: alice:secret
--- request
GET /v2/alice/app/tags/list
--- error_code: 401
--- response_headers_like
WWW-Authenticate: .*elsewhere.*

=== a header of the administrator's own is left alone
--- http_config eval
main::registry(200)
--- config eval
Harness::gate_config('add_header WWW-Authenticate own always;')
--- login: alice:secret
--- request
GET /v2/alice/app/tags/list
--- response_headers
WWW-Authenticate: own

=== a challenge that nginx copies from an answer which it intercepts goes no further with the request
--- http_config eval
main::registry(401) . 'server { listen 127.0.0.1:$TEST_NGINX_DEAD_PORT; location / { return 200 page; } }'
--- config eval
my $page = 'proxy_pass http://127.0.0.1:$TEST_NGINX_DEAD_PORT;';
Harness::gate_config('proxy_intercept_errors on; error_page 401 @named;')
. "location \@named { $page } location = /page { $page }"
. "location /v2/off/ { registry_auth R; proxy_pass http://registry; proxy_intercept_errors on; "
. "error_page 401 \@off; }"
. "location /v1/ { registry_auth R; proxy_pass http://registry; proxy_intercept_errors on; "
. "error_page 401 /page; }"
. "location /v2/on/ { registry_auth R; proxy_pass http://registry; proxy_intercept_errors on; "
. "error_page 401 \@on; }"
. "location \@off { registry_auth off; $page } location \@on { registry_auth Other; $page }"
--- redis
HSET docker-registry:user:alice grant:** *
--- login: alice:secret
--- request eval
[ "GET /v2/alice/app/tags/list", "GET /v2/off/app/tags/list", "GET /v1/repositories/alice/app/tags",
  "GET /v2/on/app/tags/list" ]
--- error_code: 401
--- raw_response_headers_unlike: elsewhere
--- response_headers eval
[ ("!WWW-Authenticate") x 3, 'WWW-Authenticate: Basic realm="Other"' ]
--- response_body: page

=== nor from the subrequest of auth_request, where that is gated, or goes to users' backends
--- http_config eval
main::registry(401)
    . 'upstream registries { registry_auth_backends; server 127.0.0.1:$TEST_NGINX_EXTRA_PORT; }'
--- config eval
'location / { registry_auth Registry; auth_request /gated; proxy_pass http://registry; }
location /v2/alice/b/ { registry_auth Registry; auth_request /users; proxy_pass http://registry; }
location = /gated { internal; registry_auth Registry; proxy_pass http://registry; }
location = /users { internal; proxy_pass http://registries; }'
--- login: alice:secret
--- request eval
[ "GET /v2/alice/a/tags/list", "GET /v2/alice/b/tags/list" ]
--- error_code: 401
--- raw_response_headers_unlike: elsewhere
--- response_headers eval
[ 'WWW-Authenticate: Basic realm="Registry"', "!WWW-Authenticate" ]

=== the same with kept connections: keepalive takes the place of the balancer's function
--- http_config eval
main::registry(401)
    . 'upstream registries { registry_auth_backends; server 127.0.0.1:$TEST_NGINX_EXTRA_PORT; keepalive 8; }'
--- config
location / { registry_auth Registry; auth_request /users; proxy_pass http://registry; }
location = /users { internal; proxy_pass http://registries; }
--- login: alice:secret
--- request
GET /v2/alice/b/tags/list
--- error_code: 401
--- raw_response_headers_unlike: elsewhere
--- response_headers
!WWW-Authenticate

=== also where another module has let the request in
--- http_config eval
main::registry(401)
--- config eval
Harness::gate_config('satisfy any; allow all;')
--- request
GET /v2/alice/app/tags/list
--- error_code: 401
--- response_headers
WWW-Authenticate: Basic realm="Registry"
