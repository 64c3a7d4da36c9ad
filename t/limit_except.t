# registry_auth inside limit_except: reading open, writing gated, and the other
# way round.
use strict;
use warnings;
use lib 't/lib';
use Harness;

defaults(
    http_config => gate_http(),
    accounts    => "alice:secret\n",
);
run_tests();

__DATA__
=== limit_except GET { registry_auth }: pulls are open, pushes are gated
--- config
        location / {
            limit_except GET { registry_auth "Writers"; }
            proxy_pass http://registry;
        }
--- request eval
[ "GET /v2/bob/x/tags/list", "HEAD /v2/bob/x/manifests/v1", "PUT /v2/alice/x/manifests/v1",
  "PUT /v2/alice/x/manifests/v1",
  "PUT /v2/bob/x/manifests/v1", "DELETE /v2/alice/x/manifests/v1" ]
--- login eval
[ "", "", "", "alice:secret", "alice:secret", "alice:bad" ]
--- error_code eval
[ 200, 200, 401, 200, 403, 401 ]
--- forwarded eval
[ 1, 1, 0, 1, 0, 0 ]
--- response_headers eval
[ "!WWW-Authenticate", "!WWW-Authenticate", 'WWW-Authenticate: Basic realm="Writers"', "!WWW-Authenticate",
  "!WWW-Authenticate",
  'WWW-Authenticate: Basic realm="Writers"' ]

=== limit_except PUT { registry_auth off; }: what it lists stays gated
--- config
        location / {
            registry_auth "Registry";
            limit_except PUT POST PATCH DELETE { registry_auth off; }
            proxy_pass http://registry;
        }
--- request eval
[ "GET /v2/bob/x/tags/list", "PUT /v2/alice/x/manifests/v1", "PUT /v2/alice/x/manifests/v1" ]
--- login eval
[ "", "", "alice:secret" ]
--- error_code eval
[ 200, 401, 200 ]

=== limit_except inherits the realm of its location
--- config
        location / {
            registry_auth "Registry";
            limit_except GET { allow 127.0.0.1; deny all; }
            proxy_pass http://registry;
        }
--- request eval
[ "GET /v2/", "PUT /v2/alice/x/manifests/v1", "PUT /v2/alice/x/manifests/v1" ]
--- login eval
[ "", "", "alice:secret" ]
--- error_code eval
[ 401, 401, 200 ]

=== limit_except { deny all; } beside the gate
--- config
        location / {
            registry_auth "Registry";
            limit_except GET HEAD { deny all; }
            proxy_pass http://registry;
        }
--- request eval
[ "GET /v2/alice/x/tags/list", "PUT /v2/alice/x/manifests/v1" ]
--- login: alice:secret
--- error_code eval
[ 200, 403 ]

=== without credentials the peers are the block's own server lines
--- config
        location / {
            limit_except GET { registry_auth "Writers"; }
            proxy_pass http://registry;
        }
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- request eval
[ "GET /v2/alice/x/tags/list", "PUT /v2/alice/x/manifests/v1" ]
--- login: alice:secret
--- backend_received_by: A B
