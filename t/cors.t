# The shipped cors.conf: pages of listed origins may use the registry in a
# browser, those of others may not.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;

defaults(
    http_config => "    include \$TEST_NGINX_ROOT/nginx/direct.conf;\n" . zone_http('zone=auth:1m'),
    config      => <<'EOC',
        include $TEST_NGINX_ROOT/nginx/cors.conf;
        registry_auth "Registry";
        registry_auth_bearer http://localhost/token;
        location = /token { registry_auth_token; }
        location / { proxy_pass http://registry; proxy_set_header Authorization ""; }
EOC
    accounts => "alice:secret\n",
);

# Where nginx itself answers 413, 502 and, to this path, 414.
our @OWN = ('PUT /v2/alice/app/manifests/v1' . "\nabc", 'GET /v2/down/', 'GET /v2/' . 'a' x 9000);

sub own_answers {
    return $_[0] . <<'EOC';
        include $TEST_NGINX_ROOT/nginx/errors.conf;
        registry_auth "Registry";
        location / { proxy_pass http://registry; client_max_body_size 1; proxy_set_header Authorization ""; }
        location = /v2/down/ { proxy_pass http://127.0.0.1:$TEST_NGINX_DEAD_PORT;
            proxy_set_header Authorization ""; registry_auth off; }
EOC
}

run_tests();

__DATA__
=== a preflight of a listed origin is answered without a login, on each path
--- more_headers
Origin: https://ui.example.com
Access-Control-Request-Method: GET
Access-Control-Request-Headers: authorization
--- request eval
[ map {"OPTIONS $_"} '/v2/', '/v2/_catalog', '/v2/alice/app/manifests/v1', '/token?service=registry' ]
--- error_code: 204
--- response_headers
Access-Control-Allow-Origin: https://ui.example.com
Access-Control-Allow-Credentials: true
Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE
Access-Control-Allow-Headers: Accept, Authorization, Content-Range, Content-Type, If-None-Match, Range
Access-Control-Max-Age: 600
Vary: Origin
!WWW-Authenticate
--- forwarded: 0

=== a preflight of another origin, or of none, is refused as before
--- more_headers eval
[ "Origin: https://evil.example", "Origin: https://ui.example.com.evil.example",
  "Origin: http://ui.example.com", "Origin: null", "" ]
--- request eval
[ ("OPTIONS /v2/") x 5 ]
--- error_code: 404
--- response_headers
!Access-Control-Allow-Origin
!Access-Control-Allow-Credentials
!Access-Control-Allow-Methods
--- forwarded: 0

=== answers and refusals have the headers: 200, 401, 403, 400, 404, a token
--- more_headers
Origin: https://ui.example.com
--- login eval
[ "alice:secret", "", "alice:wrong", "alice:secret", "alice:secret", "alice:secret", "alice:secret",
  "alice:wrong" ]
--- request eval
[ "GET /v2/", "GET /v2/", "GET /v2/", "GET /v2/bob/app/tags/list", "GET /v2/a//b/tags/list",
  "GET /v2/alice/x", "GET /token", "GET /token" ]
--- error_code eval
[ 200, 401, 401, 403, 400, 404, 200, 401 ]
--- response_headers
Access-Control-Allow-Origin: https://ui.example.com
Access-Control-Allow-Credentials: true
Access-Control-Expose-Headers: Docker-Content-Digest, Docker-Distribution-Api-Version, \
  Docker-Upload-UUID, Link, Location, OCI-Filters-Applied, OCI-Subject, Range, Retry-After, Warning, \
  WWW-Authenticate
!Access-Control-Allow-Methods
Vary: Origin

=== other origins get what they got before, without the headers
--- more_headers
Origin: https://evil.example
--- login: alice:secret
--- request eval
[ "GET /v2/", "GET /v2/bob/app/tags/list" ]
--- error_code eval
[ 200, 403 ]
--- response_headers
!Access-Control-Allow-Origin
!Access-Control-Allow-Credentials
!Access-Control-Expose-Headers
Vary: Origin

=== a registry's own headers of this kind do not go out
--- backend
header: Access-Control-Allow-Origin: *
header: Access-Control-Allow-Credentials: no
--- more_headers eval
[ "Origin: https://ui.example.com", "Origin: https://evil.example" ]
--- login: alice:secret
--- request eval
[ ("GET /v2/") x 2 ]
--- response_headers eval
[ "Access-Control-Allow-Origin: https://ui.example.com\nAccess-Control-Allow-Credentials: true",
  "!Access-Control-Allow-Origin\n!Access-Control-Allow-Credentials" ]

=== nginx's own answers have them, too: 413, 502, 400, 414
--- config eval
main::own_answers("        include \$TEST_NGINX_ROOT/nginx/cors.conf;\n")
--- more_headers
Origin: https://ui.example.com
--- login: alice:secret
--- request eval
[ @main::OWN ]
--- error_code eval
[ 413, 502, 414 ]
--- response_headers eval
[ ("Access-Control-Allow-Origin: https://ui.example.com\nAccess-Control-Allow-Credentials: true\n"
    . "Vary: Origin\nDocker-Distribution-Api-Version: registry/2.0") x 2,
  "Docker-Distribution-Api-Version: registry/2.0" ]
--- response_headers_like eval
[ ("Access-Control-Expose-Headers: .*WWW-Authenticate") x 2, "" ]

=== without cors.conf they have none, and nothing is logged of its variables
--- config eval
main::own_answers('')
--- more_headers
Origin: https://ui.example.com
--- login: alice:secret
--- request eval
[ @main::OWN ]
--- error_code eval
[ 413, 502, 414 ]
--- response_headers
!Access-Control-Allow-Origin
!Access-Control-Allow-Credentials
!Access-Control-Expose-Headers
!Vary
Docker-Distribution-Api-Version: registry/2.0
--- no_error_log
uninitialized
