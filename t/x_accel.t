# Rule 15 with the shipped nginx/proxy.conf: what a backend cannot
# do to nginx, and what it is and is not told.
use strict;
use warnings;
use lib 't/lib';
use Harness;

defaults(
    http_config => "    include \$TEST_NGINX_ROOT/nginx/direct.conf;\n" . gate_http(),
    config      => <<'EOC',
        registry_auth "Registry";
        include $TEST_NGINX_ROOT/nginx/proxy.conf;
        location / { proxy_pass http://registry; }
        location /internal/ { internal; registry_auth off; return 200 "the crown jewels\n"; }
EOC
    accounts => "alice:secret\n",
    login    => 'alice:secret',
);
run_tests();

__DATA__
=== rule 15: X-Accel-Redirect of a backend reaches no internal location
--- backend
header: X-Accel-Redirect: /internal/x
body: the backend's own\n
--- request eval
[ "GET /v2/alice/app/manifests/v1", "GET /v2/", "HEAD /v2/" ]
--- response_body_unlike: crown jewels
--- response_body eval
[ "the backend's own\n", "the backend's own\n", "" ]

=== without the snippet nginx would follow it (this test would see it)
--- config eval
Harness::gate_config() . qq{location /internal/ { internal; return 200 "the crown jewels\\n"; }}
--- backend
header: X-Accel-Redirect: /internal/x
--- request
GET /v2/
--- response_body
the crown jewels

=== rule 15: nor do the other X-Accel headers steer nginx
--- backend
header: X-Accel-Expires: 100000
header: X-Accel-Limit-Rate: 1
header: X-Accel-Buffering: no
header: X-Accel-Charset: utf-7
--- request
GET /v2/
--- timeout: 2
--- response_headers_like
Content-Type: text/plain

=== Authorization and cookies of the gate do not reach the backend
--- request
GET /v2/
--- backend_not_received
Authorization
YWxpY2U6c2VjcmV0

=== nor under another spelling
--- more_headers
Proxy-Authorization: Basic YWxpY2U6c2VjcmV0
--- request
GET /v2/
--- backend_not_received eval
[ qr/^Authorization:/mi ]

=== Host and X-Forwarded-Proto reach it, or Location is wrong
--- more_headers
Host: registry.example:5443
X-Forwarded-Proto: gopher
X-Forwarded-Host: evil.example
Forwarded: host=evil.example;proto=gopher
X-Forwarded-Prefix: /evil
--- request
POST /v2/alice/app/blobs/uploads/
--- backend_received_like
^Host: registry.example:5443$
^X-Forwarded-Proto: http$
--- backend_not_received
evil.example
gopher

=== client_max_body_size 0, no request buffering: a large push passes
--- request eval
"PATCH /v2/alice/app/blobs/uploads/1\n" . "0123456789" x 300_000
--- backend_received_like eval
[ qr/^Content-Length: 3000000$/m ]
--- no_error_log
buffered to a temporary file

=== HTTP/1.1 to the backend
--- request
GET /v2/
--- backend_received_like
^GET /v2/ HTTP/1\.1$

=== Location of an upload keeps its query byte for byte; without TLS it goes on as a path
--- backend
status: 202
header: Location: http://localhost/v2/alice/app/blobs/uploads/1?_state=a%2Bb
--- request
POST /v2/alice/app/blobs/uploads/
--- error_code: 202
--- response_headers
Location: /v2/alice/app/blobs/uploads/1?_state=a%2Bb

=== a push that a backend has taken is never repeated at another
--- redis
HSET docker-registry:user:alice \
  backends "127.0.0.1:$TEST_NGINX_BACKEND_PORT 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT"
--- backend
close
--- request eval
[ "PATCH /v2/alice/app/blobs/uploads/1\nabc", "POST /v2/alice/app/blobs/uploads/",
  "PUT /v2/alice/app/manifests/v1\n{}" ]
--- error_code_like: ^50[24]$
--- after
# Each one once, and PUT, which may be repeated, at the other one, too; from nginx 1.29.7 on once more where a
# connection that was kept from the block before is closed.
my $most = Harness::nginx_server()->built_with('nginx 1.29.7') ? 5 : 4;
die scalar @{ Harness::backend()->received } if @{ Harness::backend()->received } > $most;
