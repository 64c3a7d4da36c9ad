# $registry_auth_* in the access log: what they say, that only a verified user
# is named (rule 17), and that they survive internal redirects (rule 16). nginx
# writes `-` for an empty one.
use strict;
use warnings;
use lib 't/lib';
use Harness;

our $LOG = <<'EOC';
    log_format gate 'status=$status user=[$registry_auth_user] repository=[$registry_auth_repository] '
                    'action=[$registry_auth_action] result=[$registry_auth_result] '
                    'cache=[$registry_auth_cache] backend=[$registry_auth_backend] uri=[$request_uri]';
    access_log $TEST_NGINX_SERVROOT/logs/access.log gate;
EOC

defaults(
    http_config => gate_http() . $LOG,
    config      => gate_config(),
    accounts    => "alice:secret\nbob:secret\n",
);
run_tests();

__DATA__
=== granted: the user, what was asked for, and where it went
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_PORT
--- login: alice:secret
--- request eval
my $d = 'sha256:' . 'ab' x 32;
[ "GET /v2/alice/app/tags/list", "PUT /v2/alice/app/manifests/v1", "DELETE /v2/alice/app/blobs/$d",
  "PATCH /v2/alice/app/blobs/uploads/1" ]
--- access_log
status=200 user=[alice] repository=[alice/app] action=[pull] result=[granted] \
  cache=[BYPASS] backend=[127.0.0.1:$TEST_NGINX_BACKEND_PORT] uri=[/v2/alice/app/tags/list]
status=200 user=[alice] repository=[alice/app] action=[push] result=[granted] \
  cache=[BYPASS] backend=[127.0.0.1:$TEST_NGINX_BACKEND_PORT] uri=[/v2/alice/app/manifests/v1]
status=200 user=[alice] repository=[alice/app] action=[delete] result=[granted]
status=200 user=[alice] repository=[alice/app] action=[push] result=[granted]

=== a login check concerns no repository
--- login: alice:secret
--- request
GET /v2/
--- access_log
status=200 user=[alice] repository=[-] action=[-]
result=[granted] cache=[BYPASS]

=== rule 17: a user that was not verified is not named
--- request eval
[ "GET /v2/?wrong", "GET /v2/?unknown", "GET /v2/?none" ]
--- login eval
[ "alice:wrong", "nobody:secret", "" ]
--- error_code: 401
--- access_log
status=401 user=[-] repository=[-] action=[-]
result=[unauthenticated] cache=[BYPASS] backend=[-] uri=[/v2/?wrong]
result=[unauthenticated] cache=[BYPASS] backend=[-] uri=[/v2/?unknown]
--- no_access_log
user=[alice]
user=[nobody]
result=[granted]

=== who sends no credentials asks nothing of Redis, and has no cache state
--- request
GET /v2/
--- error_code: 401
--- access_log
user=[-] repository=[-] action=[-] result=[unauthenticated] cache=[-]

=== denied: the verified user and what he wanted
--- login: alice:secret
--- request
PUT /v2/bob/app/manifests/v1
--- error_code: 403
--- access_log
status=403 user=[alice] repository=[bob/app] action=[push] result=[denied] cache=[BYPASS] backend=[-]

=== invalid: a path that is not canonical, a route that is none
--- login: alice:secret
--- request eval
[ "GET /v2/alice/../bob/tags/list", "GET /nothing" ]
--- error_code eval
[ 400, 404 ]
--- access_log
status=400 user=[-] repository=[-] action=[-] result=[invalid]
status=404 user=[-] repository=[-] action=[-] result=[invalid]

=== unavailable: Redis is down
--- init
redis_server()->stop;
--- login: alice:secret
--- request
GET /v2/
--- error_code: 503
--- access_log
status=503 user=[-] repository=[-] action=[-]
result=[unavailable]

=== a ping needs nobody
--- request
GET /v1/_ping
--- access_log
status=200 user=[-]
result=[anonymous]

=== registry_auth off: all empty
--- config
        location / { proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
--- login: alice:secret
--- request
GET /v2/
--- access_log
status=200 user=[-] repository=[-] action=[-] result=[-] cache=[-] backend=[-]

=== a log cannot be forged through them
--- login: alice:secret
--- request eval
[ "GET /v2/bob/a%0aresult=[granted]/tags/list", 'GET /v2/bob/x"y/tags/list' ]
--- error_code: 400
--- no_access_log
user=[alice]

=== rule 16: a denial's error_page keeps the identity for the log
--- config eval
Harness::gate_config('error_page 403 /sorry;') . "location = /sorry { internal; return 403 sorry; }\n"
--- login: alice:secret
--- request
GET /v2/bob/app/tags/list
--- error_code: 403
--- response_body_like: ^sorry
--- access_log
status=403 user=[alice] repository=[bob/app] action=[pull] result=[denied] cache=[BYPASS]

=== rule 16: an error_page to a named location keeps it
--- config eval
Harness::gate_config('error_page 401 403 = @sorry;') . 'location @sorry { return 418; }'
--- login eval
[ "alice:secret", "alice:wrong" ]
--- request eval
[ "GET /v2/bob/app/tags/list", "GET /v2/?wrong" ]
--- error_code: 418
--- access_log
status=418 user=[alice] repository=[bob/app] action=[pull] result=[denied]
status=418 user=[-] repository=[-] action=[-] result=[unauthenticated]

=== rule 16: a backend's error that is intercepted keeps it
--- config eval
Harness::gate_config('proxy_intercept_errors on; error_page 404 /missing;')
    . "location = /missing { internal; return 404 missing; }\n"
--- backend
status: 404
--- login: alice:secret
--- request
GET /v2/alice/app/tags/list
--- error_code: 404
--- access_log
status=404 user=[alice] repository=[alice/app] action=[pull] result=[granted]

=== rule 16: an internal redirect into a gated location is checked there again or keeps its permit
--- config
        location /v2/ {
            registry_auth "Registry";
            error_page 404 = @elsewhere;
            proxy_intercept_errors on;
            proxy_pass http://registry;
        }
        location @elsewhere {
            registry_auth "Registry";
            proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_B_PORT;
        }
--- backend
A => status: 404
--- login eval
[ "alice:secret", "", "alice:secret" ]
--- request eval
[ "GET /v2/alice/app/tags/list", "GET /v2/alice/app/tags/list", "GET /v2/bob/app/tags/list" ]
--- error_code eval
[ 200, 401, 403 ]
--- backend_received_by: A B
--- access_log
status=200 user=[alice] repository=[alice/app] action=[pull] result=[granted]

=== rule 16: X-Accel-Redirect into a gated location is checked again, with its own rules
--- config eval
Harness::gate_config() =~ s{//registry;}{//127.0.0.1:\$TEST_NGINX_BACKEND_PORT;}r . <<'EOC'
        location /other/ {
            registry_auth "Other";
            registry_auth_prefix other;
            rewrite ^/other(/.*)$ $1 break;
            proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_B_PORT;
        }
EOC
--- backend
A => header: X-Accel-Redirect: /other/v2/alice/app/tags/list
--- login: alice:secret
--- request
GET /v2/alice/app/tags/list
--- error_code: 401
--- backend_received_by: A

=== rule 16: try_files to a gated location
--- config
        location / {
            try_files /nonexistent @registry;
        }
        location @registry {
            registry_auth "Registry";
            proxy_pass http://registry;
        }
--- login eval
[ "alice:secret", "", "alice:secret" ]
--- request eval
[ "GET /v2/alice/app/tags/list", "GET /v2/alice/app/tags/list", "GET /v2/bob/app/tags/list" ]
--- error_code eval
[ 200, 401, 403 ]
--- forwarded eval
[ 1, 0, 0 ]
--- access_log
user=[alice] repository=[alice/app] action=[pull] result=[granted]

=== the variables can be used in proxy_set_header and add_header
--- config
        location / {
            registry_auth "Registry";
            proxy_set_header X-User "$registry_auth_user";
            proxy_set_header X-What "$registry_auth_action:$registry_auth_repository";
            add_header X-Result "$registry_auth_result" always;
            proxy_pass http://registry;
        }
--- login eval
[ "alice:secret", "alice:wrong" ]
--- request eval
[ ("GET /v2/alice/app/tags/list") x 2 ]
--- more_headers
X-User: root
--- error_code eval
[ 200, 401 ]
--- backend_received_like
^X-User: alice$
^X-What: pull:alice/app$
--- backend_not_received
X-User: root
--- response_headers eval
[ "X-Result: granted", "X-Result: unauthenticated" ]

=== read too early (in the rewrite phase) they are empty, not cached as empty
--- config
        location / {
            if ($registry_auth_user = "alice") { return 500; }
            registry_auth "Registry";
            proxy_pass http://registry;
        }
--- login: alice:secret
--- request
GET /v2/alice/app/tags/list
--- access_log
status=200 user=[alice] repository=[alice/app] action=[pull] result=[granted]

=== a client that goes away while Redis is asked is logged as 499, unverified
--- init
redis_server()->freeze;
--- after
redis_server()->thaw;
--- login: alice:secret
--- abort
--- timeout: 0.2
--- request
GET /v2/alice/app/tags/list
--- wait: 0.1
--- access_log
status=499 user=[-]
--- no_access_log
granted
--- backend_not_received

=== throttled: the hashing queue is full
--- skip_valgrind: slow hashes take minutes there
--- http_config eval
Harness::gate_http() . $main::LOG . "    registry_auth_hashing threads=1 queue=1;\n"
--- users
alice:secret hash=bcrypt
--- request
GET /v2/
--- error_code: 401
--- after
http_many(24, "GET /v2/", login => 'alice:wrong%d');
--- access_log
status=429 user=[-] repository=[-] action=[-] result=[throttled]
