# The gate over HTTP/2: same decisions, same bytes to the backend.
use strict;
use warnings;
use lib 't/lib';
use Harness;

defaults(
    http_config => gate_http(),
    config      => gate_config(),
    accounts    => "alice:secret\nbob:secret\n",
    login       => 'alice:secret',
    http2       => '',
);
run_tests();

__DATA__
=== own, foreign, nobody's
--- login eval
[ "alice:secret", "bob:secret", "", "alice:wrong" ]
--- request eval
[ ("GET /v2/alice/app/manifests/v1") x 4 ]
--- error_code eval
[ 200, 403, 401, 401 ]
--- forwarded eval
[ 1, 0, 0, 0 ]
--- oci_error eval
[ undef, "DENIED", "UNAUTHORIZED", "UNAUTHORIZED" ]
--- response_headers
Docker-Distribution-Api-Version: registry/2.0

=== the challenge
--- login:
--- request
GET /v2/
--- error_code: 401
--- response_headers
www-authenticate: Basic realm="Registry"

=== every method
--- request eval
[ "HEAD /v2/alice/app/manifests/v1", "PUT /v2/alice/app/manifests/v1\n{}",
  "DELETE /v2/alice/app/manifests/v1", "POST /v2/alice/app/blobs/uploads/",
  "PATCH /v2/alice/app/blobs/uploads/1\nabc", "OPTIONS /v2/", "PUT /v2/bob/app/manifests/v1\n{}",
  "DELETE /v2/bob/app/manifests/v1" ]
--- error_code eval
[ 200, 200, 200, 200, 200, 404, 403, 403 ]
--- forwarded eval
[ 1, 1, 1, 1, 1, 0, 0, 0 ]

=== HEAD is denied without a body
--- login:
--- request
HEAD /v2/
--- error_code: 401
--- response_body:
--- response_headers_like
content-type: application/json.*

=== path confusion is refused here too
--- request eval
[ "GET /v2/alice/../bob/tags/list", "GET /v2/alice%2fx/tags/list", "GET /v2//alice/x/tags/list",
  "GET /v2/./alice/x/tags/list", "GET /v2/Alice/x/tags/list",
  "GET /v2/alice/%2e%2e/bob/x/tags/list", "GET //v2/alice/x/tags/list" ]
--- error_code_like: ^40[04]$
--- forwarded: 0

=== the one escape, the query: as they came
--- request eval
[ "GET /v2/alice/x/blobs/sha256%3A" . 'ab' x 32,
  "PATCH /v2/alice/x/blobs/uploads/id?_state=a%2Bb%20c&d=%zz\nx" ]
--- forwarded: 1

=== a body that waited for Redis arrives whole
--- request eval
"PATCH /v2/alice/app/blobs/uploads/1\n" . "0123456789" x 30_000
--- backend_received_like eval
[ qr/\n\n(?:0123456789){30000}\z/ ]

=== the body of a denied request is discarded
--- request eval
[ "PATCH /v2/bob/app/blobs/uploads/1\n" . "0123456789" x 30_000, "GET /v2/" ]
--- error_code eval
[ 403, 200 ]
--- oci_error eval
[ "DENIED", undef ]
--- forwarded eval
[ 0, 1 ]

=== a large body without buffering
--- config eval
Harness::gate_config('proxy_request_buffering off; client_max_body_size 0;')
--- request eval
"PATCH /v2/alice/app/blobs/uploads/1\n" . "0123456789" x 200_000
--- backend_received_like eval
[ qr/\n\n(?:0123456789){30000}/ ]

=== a form on an upload POST is refused
--- more_headers
Content-Type: application/x-www-form-urlencoded
--- request
POST /v2/alice/app/blobs/uploads/
mount=a&from=bob/app
--- error_code_like: ^4(?!01)\d\d$
--- forwarded: 0

=== several streams of one connection, waiting together
--- request
GET /v2/
--- after
my $url  = Harness::expand('http://127.0.0.1:$TEST_NGINX_H2_PORT');
my @path = map {"$url/v2/alice/app$_/tags/list"} 1 .. 20;
my $out  = qx(nghttp -s -H 'authorization: Basic YWxpY2U6c2VjcmV0' @path 2>&1);
my @ok   = $out =~ /\s200\s/g;
die $out if @ok != 20;

=== streams of a connection that goes away while Redis is asked
--- request
GET /v2/
--- after
my $url  = Harness::expand('http://127.0.0.1:$TEST_NGINX_H2_PORT');
redis_server()->freeze;
my $pid = fork();
if (!$pid) {
    open STDOUT, '>', '/dev/null';
    open STDERR, '>', '/dev/null';
    { exec 'nghttp', '-n', '-H', 'authorization: Basic YWxpY2U6c2VjcmV0',
        map {"$url/v2/alice/app$_/tags/list"} 1 .. 10 }
    POSIX::_exit(1);
}
Time::HiRes::sleep(0.2);
kill 'KILL', $pid;
waitpid $pid, 0;
redis_server()->thaw;
die 'after them' if http('GET /v2/', login => 'alice:secret')->{status} != 200;
