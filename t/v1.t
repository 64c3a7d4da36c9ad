# routes.md, V1: the order of requests of a docker push and pull of its time
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
GET /(?:v1/)?_ping => header: X-Docker-Registry-Standalone: True
GET /(?:v1/)?_ping => body: true
PUT /v1/repositories/ => header: X-Docker-Token: signature=abc,repository="alice/app",access=write
PUT /v1/repositories/ => header: WWW-Authenticate: Token signature=abc
PUT /v1/repositories/.*/images$ => status: 204
GET /v1/images/.*/json$ => header: X-Docker-Size: 456
EOB
);
run_tests();

__DATA__
=== GET /_ping, /v1/_ping pass through, X-Docker-Registry-Standalone reaches the client
--- request eval
[ "GET /v1/_ping", "GET /_ping" ]
--- response_headers
X-Docker-Registry-Standalone: True
X-Docker-Registry-Version: 0.9.1
!WWW-Authenticate
!Docker-Distribution-Api-Version
--- response_body chomp
true
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

=== sign-up is refused
--- login eval
[ "", "alice:secret" ]
--- request eval
[ ("POST /v1/users/\n{\"username\":\"mallory\",\"password\":\"x\",\"email\":\"m\@example.org\"}") x 2 ]
--- error_code: 404
--- forwarded: 0

=== a push, in the order of docker's
--- login: alice:secret
--- request eval
my $i = $main::IMAGE;
[ "PUT /v1/repositories/alice/app/\n[{\"id\":\"$i\"}]", "GET /v1/images/$i/json", "PUT /v1/images/$i/json\n{}", "PUT /v1/images/$i/layer\nlayer bytes",
  "PUT /v1/images/$i/checksum", "PUT /v1/repositories/alice/app/tags/latest\n\"$i\"", "PUT /v1/repositories/alice/app/images\n[]" ]
--- error_code eval
[ (200) x 6, 204 ]
--- forwarded: 1
--- response_headers eval
[ "X-Docker-Token: signature=abc,repository=\"alice/app\",access=write", "X-Docker-Size: 456", (undef) x 5 ]

=== the same push into a foreign repository ends at its first request
--- login: bob:secret
--- request eval
my $i = $main::IMAGE;
[ "PUT /v1/repositories/alice/app/\n[{\"id\":\"$i\"}]", "PUT /v1/repositories/alice/app/tags/latest\n\"$i\"", "PUT /v1/repositories/alice/app/images\n[]" ]
--- error_code: 403
--- forwarded: 0
--- oci_error: DENIED

=== a pull, in the order of docker's
--- login: alice:secret
--- request eval
my $i = $main::IMAGE;
[ "GET /v1/repositories/alice/app/images", "GET /v1/repositories/alice/app/tags", "GET /v1/repositories/alice/app/tags/latest",
  "GET /v1/images/$i/ancestry", "GET /v1/images/$i/json", "GET /v1/images/$i/layer" ]
--- forwarded: 1

=== the same pull without credentials
--- request eval
my $i = $main::IMAGE;
[ "GET /v1/repositories/alice/app/images", "GET /v1/repositories/alice/app/tags", "GET /v1/images/$i/ancestry", "GET /v1/images/$i/layer" ]
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
