# Rule 15: what a backend cannot do to nginx; and with the shipped nginx/proxy.conf, what it is and is not
# told.
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
# Two ways that variables choose, reached through a gate, without one: the first
# has what is given here, the second the shipped proxy.conf.
sub two_ways {
    my ($first) = @_;
    return "set \$to registry; location /v2/ { registry_auth R; try_files /none \@named; }
        location \@named { registry_auth off; $first proxy_pass http://\$to; }
        location /v2/library/ { registry_auth R; try_files /none \@other; }
        location \@other {
            registry_auth off; include \$TEST_NGINX_ROOT/nginx/proxy.conf; proxy_pass http://\$to;
        }
        location /internal/ { internal; registry_auth off; return 200 'the crown jewels'; }";
}
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

=== an administrator's registry may do so where nothing forbids it (this test would see it)
--- config eval
"location / { registry_auth R; proxy_set_header Authorization ''; "
    . "proxy_pass http://127.0.0.1:\$TEST_NGINX_BACKEND_PORT; }"
    . 'location /internal/ { internal; return 200 "the crown jewels\n"; }'
--- backend
header: X-Accel-Redirect: /internal/x
--- request
GET /v2/
--- response_body
the crown jewels

=== rule 15: whatever the configuration says, in each kind of block, from a user's registry or the block's own
--- http_config eval
"    proxy_cache_path \$TEST_NGINX_SERVROOT/kept keys_zone=registry_blobs:1m;
    include \$TEST_NGINX_ROOT/nginx/direct.conf;\n" . Harness::gate_http()
--- config eval
"registry_auth R; set \$to registry; include \$TEST_NGINX_ROOT/nginx/proxy.conf;
        location / { proxy_ignore_headers Vary; proxy_pass http://registry; }
        location /v2/library/cached/ {
            include \$TEST_NGINX_ROOT/nginx/blob-cache.conf; proxy_pass http://registry;
        }
        location /v2/library/variable/ { proxy_ignore_headers Vary; proxy_pass http://\$to; }
        location /v2/library/if/ {
            proxy_ignore_headers Vary; proxy_pass http://registry; if (\$arg_a = '') { set \$x 1; }
        }
        location /v2/library/except/ {
            proxy_ignore_headers Vary; proxy_pass http://registry; limit_except POST { allow all; }
        }
        location /v2/library/named/ { try_files /none \@named; }
        location \@named { registry_auth off; proxy_ignore_headers Vary; proxy_pass http://registry; }
        location /v2/library/nested/ {
            proxy_ignore_headers Vary;
            location ~ x { proxy_pass http://registry; }
        }
        location /internal/ { internal; registry_auth off; return 200 'the crown jewels'; }"
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
HSET docker-registry:group:public grant:library/** pull
--- backend
header: X-Accel-Redirect: /internal/x
--- request eval
[ map { ($_) x 3 } map { "GET /v2/library/$_/x/blobs/sha256:" . 'a' x 64 }
    qw(x cached variable if except named nested) ]
--- login eval
[ ('alice:secret', 'alice:secret', '') x 7 ]
--- response_body_unlike: crown jewels
--- response_body_like eval
[ (qr/backend: B/, qr/backend: B/, qr/backend: A/) x 7 ]

=== rule 15: a way by variables without a gate, reached through one, has to forbid it itself
--- config eval
main::two_ways('')
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
HSET docker-registry:group:public grant:library/** pull
--- backend
header: X-Accel-Redirect: /internal/x
--- request eval
[ "GET /v2/alice/x/tags/list", "GET /v2/library/x/tags/list" ]
--- error_code eval
[ 500, 200 ]
--- response_body_like eval
[ qr/UNKNOWN/, qr/backend: B/ ]
--- error_log
"proxy_ignore_headers"

=== rule 15: nor does one that speaks another protocol
--- config eval
CORE::join "", "registry_auth R; ", map { "
    location /v2/$_->[0]/ {
        $_->[1]_param HTTP_AUTHORIZATION ''; $_->[1]_param X \" / \\r\\n\\r\\n\"; $_->[1]_pass registry;
    }" } [ alice => 'scgi' ], [ bob => 'uwsgi' ], [ carol => 'fastcgi' ];
--- http_config eval
Harness::gate_http()
--- accounts
alice:secret
bob:secret
carol:secret
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
HSET docker-registry:user:bob backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
HSET docker-registry:user:carol backends 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT
--- backend
early: 1
B => raw: Status: 200 OK\r\nX-Accel-Redirect: /internal/x\r\n\r\nits own
C => raw: \x01\x06\x00\x01\x00\x38\x00\x00\
Status: 200 OK\r\nX-Accel-Redirect: /internal/x\r\n\r\n\
its own\x01\x03\x00\x01\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00
--- request eval
[ map { "GET /v2/$_/x/tags/list" } qw(alice bob carol) ]
--- login eval
[ map { "$_:secret" } qw(alice bob carol) ]
--- response_body: its own

=== rule 15: rate, buffers, character set and time in a cache are not a backend's to choose either
--- http_config eval
"    proxy_cache_path \$TEST_NGINX_SERVROOT/kept keys_zone=c:1m;\n" . Harness::gate_http()
--- config
location / {
    registry_auth R; proxy_set_header Authorization ""; proxy_pass http://registry;
    proxy_cache c; proxy_cache_key $registry_auth_user$request_uri;
    add_header X-Cache $upstream_cache_status;
    location /v2/alice/buffered/ {
        proxy_pass http://registry; proxy_cache_valid 200 1h;
        add_header X-Cache $upstream_cache_status;
    }
}
--- backend eval
"/rate/ => header: X-Accel-Limit-Rate: 1
/rate/ => body: " . "x" x 300_000 . "
/expires/ => header: X-Accel-Expires: 100000
/buffered/ => header: X-Accel-Buffering: no
/charset/ => header: X-Accel-Charset: utf-7
"
--- request eval
[ "GET /v2/alice/rate/tags/list", map { ("GET /v2/alice/$_/tags/list") x 2 } qw(expires charset buffered) ]
--- timeout: 10
--- response_headers eval
[ map { "Content-Type: text/plain\nX-Cache: $_" } ("MISS") x 6, "HIT" ]

=== rule 15: nor by SSI, which is on for a site beside, in each kind of block
--- http_config eval
"    ssi on; ssi_types *; include \$TEST_NGINX_ROOT/nginx/direct.conf;\n" . Harness::gate_http()
--- config eval
"registry_auth R; proxy_set_header Authorization ''; set \$to registry;
        location / { proxy_pass http://registry; }
        location /v2/library/on/ { ssi on; proxy_pass http://registry; }
        location /v2/library/variable/ { proxy_pass http://\$to; }
        location /v2/library/if/ { proxy_pass http://registry; if (\$arg_a = '') { set \$x 1; } }
        location /v2/library/except/ { proxy_pass http://registry; limit_except POST { allow all; } }
        location /v2/library/named/ { try_files /none \@named; }
        location \@named { registry_auth off; proxy_pass http://registry; }
        location /internal/ { internal; registry_auth off; return 200 'the crown jewels'; }
        location /site { registry_auth off; proxy_pass http://127.0.0.1:\$TEST_NGINX_BACKEND_PORT; }"
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
HSET docker-registry:group:public grant:library/** pull
--- backend
body: <!--# include virtual="/internal/x" -->|<!--# echo var="http_authorization" -->
--- request eval
[ "GET /site", map { "GET /v2/library/$_/x/tags/list" } qw(x on variable if except named) ]
--- response_body eval
[ "the crown jewels|Basic YWxpY2U6c2VjcmV0",
  ('<!--# include virtual="/internal/x" -->|<!--# echo var="http_authorization" -->') x 6 ]

=== rule 15: nor by SSI where variables choose the way without a gate, unless that is turned off there
--- http_config eval
"    ssi on; ssi_types *; include \$TEST_NGINX_ROOT/nginx/direct.conf;\n" . Harness::gate_http()
--- config eval
main::two_ways('proxy_ignore_headers X-Accel-Redirect X-Accel-Expires X-Accel-Limit-Rate
    X-Accel-Buffering X-Accel-Charset;')
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
HSET docker-registry:group:public grant:library/** pull
--- backend
body: <!--# include virtual="/internal/x" -->
--- request eval
[ "GET /v2/alice/x/tags/list", "GET /v2/library/x/tags/list" ]
--- error_code eval
[ 500, 200 ]
--- response_body_unlike: crown jewels
--- error_log
"ssi off"

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

=== nor does Proxy-Authorization, or a cookie of this host, which is another application's
--- more_headers
Proxy-Authorization: Basic YWxpY2U6c2VjcmV0
Cookie: session=of-the-portal
--- request
GET /v2/
--- backend_received_like
^GET /v2/
--- backend_not_received eval
[ qr/Authorization:/i, qr/YWxpY2U6c2VjcmV0/, qr/^Cookie:/mi ]

=== rule 41: what applications take for the address or the method that a client has asked for
--- more_headers
X-Forwarded-Port: 6666
X-Forwarded-Server: evil.example
X-Forwarded-Ssl: evil
X-Original-URL: /v2/evil
X-Rewrite-URL: /v2/evil
X-HTTP-Method-Override: EVIL
X-HTTP-Method: EVIL
X-Method-Override: EVIL
--- request
GET /v2/
--- backend_received_like
^GET /v2/
--- backend_not_received eval
[ qr/evil/i, qr/6666/ ]

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
