# V1: the order of requests of a docker push and pull of its time
# (the 2014 gate's API), against a backend that speaks it.
use strict;
use warnings;
use lib 't/lib';
use Harness;

our $IMAGE = '0123456789abcdef' x 4;

defaults(
    http_config => gate_http(),
    config      => gate_config(),
    accounts    => "alice:secret\nbob:secret\n",
    backend     => <<'EOB',
header: X-Docker-Registry-Version: 0.9.1
header: X-Docker-Registry-Config: prod
(?:GET|HEAD) /(?:v1/)?_ping => header: X-Docker-Registry-Standalone: True
(?:GET|HEAD) /(?:v1/)?_ping => body: true
PUT /v1/repositories/ => header: X-Docker-Token: signature=abc,repository="alice/app",access=write
PUT /v1/repositories/ => header: WWW-Authenticate: Token signature=abc
PUT /v1/repositories/.*/images$ => status: 204
GET /v1/images/.*/json$ => header: X-Docker-Size: 456
EOB
);
run_tests();

__DATA__
=== GET and HEAD of /_ping, /v1/_ping pass through, X-Docker-Registry-Standalone reaches the client
--- request eval
[ "GET /v1/_ping", "GET /_ping", "HEAD /v1/_ping", "HEAD /_ping" ]
--- response_headers
X-Docker-Registry-Standalone: True
X-Docker-Registry-Version: 0.9.1
!WWW-Authenticate
!Docker-Distribution-Api-Version
--- response_body eval
[ "true", "true", "", "" ]
--- forwarded: 1

=== a ping with credentials, right or wrong, passes
--- request eval
[ ("GET /v1/_ping") x 2 ]
--- login eval
[ "alice:secret", "alice:wrong" ]
--- forwarded: 1
--- backend_not_received
Authorization

=== a login: GET /v1/users/
--- login eval
[ "", "alice:wrong", "alice:secret" ]
--- request eval
[ ("GET /v1/users/") x 3 ]
--- error_code eval
[ 401, 401, 200 ]

=== POST /v1/users: always 401 with the Basic challenge, whatever is sent; nothing is proxied
--- login eval
[ ("") x 4, ("alice:secret") x 2, "alice:wrong", "mallory:x" ]
--- request eval
my $json = '{"username":"mallory","password":"x","email":"m@example.org"}';
[ map { "POST /v1/users$_" } "/\n$json", "\n$json", "/", "/?a=b\nnot json", "/\n$json", "\n", "/\n$json",
  "/\n$json" ]
--- error_code: 401
--- oci_error: UNAUTHORIZED
--- response_headers
WWW-Authenticate: Basic realm="Registry"
!Docker-Distribution-Api-Version
--- forwarded: 0

=== POST /v1/users: the body is consumed, the connection goes on
--- raw_request eval
my $body = qq({"username":"mallory","password":"x","email":"m\@example.org"}\r\n\r\n);
my $chunks = sprintf "%x\r\n%s\r\n0\r\n\r\n", length $body, $body;
my $get = "GET /v1/users/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\n";
CORE::join '',
    "POST /v1/users/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
    . length($body) . "\r\n\r\n$body",
    "$get\r\n", "POST /v1/users/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n$chunks",
    "${get}Connection: close\r\n\r\n"
--- error_code eval
[ 401, 200, 401, 200 ]
--- backend_received_by: A A

=== POST /v1/users: with tokens, too, each challenge of V1 is Basic
--- http_config eval
Harness::gate_http() . "registry_auth_cache zone=v1:1m;\n"
--- config eval
Harness::gate_config('registry_auth_bearer http://localhost/token;')
--- request eval
[ "POST /v1/users/\n{}", "GET /v1/users/", "GET /v1/repositories/alice/app/images",
  "PUT /v1/images/0123abcd/json\n{}", "GET /v2/" ]
--- more_headers eval
[ (undef) x 4, undef ]
--- error_code: 401
--- response_headers eval
[ ('WWW-Authenticate: Basic realm="Registry"') x 4,
  'WWW-Authenticate: Bearer realm="http://localhost/token",service="registry"' ]
--- forwarded: 0

=== a push, in the order of docker's
--- login: alice:secret
--- request eval
my $i = $main::IMAGE;
[ "PUT /v1/repositories/alice/app/\n[{\"id\":\"$i\"}]", "GET /v1/images/$i/json",
  "PUT /v1/images/$i/json\n{}", "PUT /v1/images/$i/layer\nlayer bytes",
  "PUT /v1/images/$i/checksum", "PUT /v1/repositories/alice/app/tags/latest\n\"$i\"",
  "PUT /v1/repositories/alice/app/images\n[]" ]
--- error_code eval
[ (200) x 6, 204 ]
--- forwarded: 1
--- response_headers eval
[ "X-Docker-Token: signature=abc,repository=\"alice/app\",access=write", "X-Docker-Size: 456", (undef) x 5 ]

=== the same push into a foreign repository ends at its first request
--- login: bob:secret
--- request eval
my $i = $main::IMAGE;
[ "PUT /v1/repositories/alice/app/\n[{\"id\":\"$i\"}]", "PUT /v1/repositories/alice/app/tags/latest\n\"$i\"",
  "PUT /v1/repositories/alice/app/images\n[]" ]
--- error_code: 403
--- forwarded: 0
--- oci_error: DENIED

=== a pull, in the order of docker's
--- login: alice:secret
--- request eval
my $i = $main::IMAGE;
[ "GET /v1/repositories/alice/app/images", "GET /v1/repositories/alice/app/tags",
  "GET /v1/repositories/alice/app/tags/latest",
  "GET /v1/images/$i/ancestry", "GET /v1/images/$i/json", "GET /v1/images/$i/layer" ]
--- forwarded: 1

=== the same pull without credentials
--- request eval
my $i = $main::IMAGE;
[ "GET /v1/repositories/alice/app/images", "GET /v1/repositories/alice/app/tags",
  "GET /v1/images/$i/ancestry", "GET /v1/images/$i/layer" ]
--- error_code: 401
--- forwarded: 0
--- response_headers
WWW-Authenticate: Basic realm="Registry"

=== the token of the backend is not taken for credentials
--- request eval
[ ("GET /v1/repositories/alice/app/images") x 2 ]
--- more_headers eval
[ "Authorization: Token signature=abc,repository=\"alice/app\",access=write", "X-Docker-Token: true" ]
--- error_code: 401
--- forwarded: 0

=== isolation of images between users comes from their backends
--- redis
HSET docker-registry:user:bob backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- login eval
[ "alice:secret", "bob:secret" ]
--- request eval
[ ("GET /v1/images/$main::IMAGE/layer") x 2 ]
--- backend_received_by: A B

=== deleting
--- login eval
[ "alice:secret", "bob:secret" ]
--- request eval
[ ("DELETE /v1/repositories/alice/app/") x 2 ]
--- error_code eval
[ 200, 403 ]

=== PUT auth is a login check
--- login eval
[ "alice:secret", "bob:secret", "" ]
--- request eval
[ ("PUT /v1/repositories/alice/app/auth") x 3 ]
--- error_code eval
[ 200, 200, 401 ]

=== HEAD of a ping takes no login
--- request eval
[ "HEAD /v1/_ping", "HEAD /_ping" ]
--- forwarded: 1

=== names that docker took before there was V2
--- login: alice:secret
--- request eval
[ "PUT /v1/repositories/alice/_app/\n[]", "GET /v1/repositories/alice/app_/images",
  "GET /v1/repositories/alice/a..b/tags",
  "PUT /v1/repositories/alice/images/tags/latest\n\"x\"", "GET /v1/repositories/alice/json/json",
  "PUT /v1/repositories/bob/_app/\n[]",
  "GET /v2/alice/_app/tags/list", "GET /v1/repositories/alice/tags/json",
  "PUT /v1/repositories/alice/app/tags/images\n\"x\"" ]
--- error_code eval
[ (200) x 5, 403, 404, 400, 400 ]
--- forwarded eval
[ (1) x 5, (0) x 4 ]

=== names that docker took before there was V2 are denied by patterns, as others are
--- redis
HSET docker-registry:user:alice grant:!alice/secret/** * grant:!alice/*x pull
HSET docker-registry:user:bob grant:alice/* pull
--- login eval
[ ("alice:secret") x 3, ("bob:secret") x 2 ]
--- request eval
[ "GET /v1/repositories/alice/secret/_a/tags", "GET /v1/repositories/alice/__x/tags",
  "GET /v1/repositories/alice/__y/tags",
  "GET /v1/repositories/alice/_app/tags", "PUT /v1/repositories/alice/_app/\n[]" ]
--- error_code eval
[ 403, 403, 200, 200, 403 ]

=== registry_auth_v1_images public: what is public is pulled without a login, images included
--- config eval
Harness::gate_config('registry_auth_v1_images public;')
--- redis
HSET docker-registry:group:public grant:alice/open pull
--- request eval
my $i = $main::IMAGE;
[ "GET /v1/repositories/alice/open/images", "GET /v1/repositories/alice/open/tags",
  "GET /v1/images/$i/ancestry", "GET /v1/images/$i/json", "HEAD /v1/images/$i/layer",
  "PUT /v1/images/$i/layer\nx", "PUT /v1/images/$i/json\n{}", "GET /v1/repositories/alice/app/images",
  "PUT /v1/repositories/alice/open/\n[]", "GET /v1/users/" ]
--- error_code eval
[ (200) x 5, (401) x 5 ]
--- forwarded eval
[ (1) x 5, (0) x 5 ]

=== registry_auth_v1_images public: a wrong password is not taken for none, a right one writes
--- config eval
Harness::gate_config('registry_auth_v1_images public;')
--- login eval
[ "alice:wrong", "alice:secret", "alice:secret", "mallory:x" ]
--- request eval
my $i = $main::IMAGE;
[ "GET /v1/images/$i/layer", "GET /v1/images/$i/layer", "PUT /v1/images/$i/layer\nx",
  "GET /v1/images/$i/layer" ]
--- error_code eval
[ 401, 200, 200, 401 ]

=== registry_auth_v1_images on: images take a login, whatever is public
--- redis
HSET docker-registry:group:public grant:** pull
--- request eval
my $i = $main::IMAGE;
[ "GET /v1/repositories/alice/open/images", "GET /v1/images/$i/layer" ]
--- error_code eval
[ 200, 401 ]

=== registry_auth_v1_images public, with the cache: as without it
--- http_config eval
Harness::gate_http() . "registry_auth_cache zone=v1:1m;\n"
--- config eval
Harness::gate_config('registry_auth_v1_images public;')
--- request eval
my $i = $main::IMAGE;
[ ("GET /v1/images/$i/layer", "PUT /v1/images/$i/layer\nx") x 3 ]
--- error_code eval
[ (200, 401) x 3 ]
