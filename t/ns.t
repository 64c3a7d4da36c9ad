# registry_auth_ns: the query by which clients of a mirror name the registry that
# they mean does not reach a backend, where it would widen every grant.
use strict;
use warnings;
use lib 't/lib';
use Harness;

our $GATE = <<'EOC';
        registry_auth "Registry";
        location / { proxy_pass http://registry; proxy_set_header Authorization ""; }
EOC

defaults(
    http_config => gate_http(),
    config      => $GATE,
    accounts    => "alice:secret\n",
    login       => 'alice:secret',
);
run_tests();

__DATA__
=== ns goes, and nothing else does
--- request eval
[ map {"GET /v2/alice/app/$_"} 'manifests/v1?ns=docker.io', 'tags/list?n=5&ns=docker.io&last=x',
  'manifests/v1', 'tags/list?n=5&last=%2F', 'manifests/v1?' ]
--- forwarded eval
[ map {"GET /v2/alice/app/$_"} 'manifests/v1', 'tags/list?n=5&last=x', 'manifests/v1',
  'tags/list?n=5&last=%2F', 'manifests/v1?' ]

=== however it is written: what any registry may read as ns goes
--- request eval
[ map {"HEAD /v2/alice/app/manifests/v1?$_"} 'NS=a', '%6es=a', 'n%53=a', 'ns[]=a', '+ns=a', 'x=1;ns=a',
  '%zz=a' ]
--- forwarded eval
[ map {"HEAD /v2/alice/app/manifests/v1$_"} ('') x 5, '?x=1', '' ]

=== uploads, with a mount that stays and one that goes
--- request eval
[ "POST /v2/alice/app/blobs/uploads/?ns=docker.io\n",
  "POST /v2/alice/app/blobs/uploads/?mount=sha256:" . 'a' x 64 . "&from=alice/other&ns=x\n",
  "POST /v2/alice/app/blobs/uploads/?mount=sha256:" . 'a' x 64 . "&from=bob/other&ns=x&a=1\n",
  "PUT /v2/alice/app/blobs/uploads/abc?_state=x%2B&ns=y&digest=sha256:" . 'a' x 64 . "\n" ]
--- forwarded eval
[ map {"$_"} 'POST /v2/alice/app/blobs/uploads/',
  'POST /v2/alice/app/blobs/uploads/?mount=sha256:' . 'a' x 64 . '&from=alice/other',
  'POST /v2/alice/app/blobs/uploads/?a=1',
  'PUT /v2/alice/app/blobs/uploads/abc?_state=x%2B&digest=sha256:' . 'a' x 64 ]

=== registry_auth_ns pass: it goes on, as it is
--- config eval
"registry_auth_ns pass;\n$main::GATE"
--- request eval
[ map {"GET /v2/alice/app/manifests/v1?$_"} 'ns=docker.io', 'x=1&NS=a' ]
--- forwarded eval
[ map {"GET /v2/alice/app/manifests/v1?$_"} 'ns=docker.io', 'x=1&NS=a' ]

=== it is inherited, and an inner one wins
--- config
        registry_auth "Registry";
        registry_auth_ns pass;
        proxy_set_header Authorization "";
        location / { proxy_pass http://registry; }
        location /v2/alice/inner/ { registry_auth_ns strip; proxy_pass http://registry; }
--- request eval
[ map {"GET /v2/alice/$_/manifests/v1?ns=a"} 'app', 'inner' ]
--- forwarded eval
[ "GET /v2/alice/app/manifests/v1?ns=a", "GET /v2/alice/inner/manifests/v1" ]

=== another value is an error of nginx -t
--- no_redis
--- must_die
--- config
        registry_auth_ns off;
--- error_log
invalid value "off" in "registry_auth_ns" directive: "strip" or "pass" is expected
