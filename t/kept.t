# What nginx keeps of answers, beside the gate: what one user's registry has said is never served to
# another user, whatever the key of a cache. What nginx -t can tell of that is in t/conf.t.
use strict;
use warnings;
use lib 't/lib';
use Harness;

# A cache whose key knows of no user, before registries that a variable chooses: nginx -t only warns.
our $BLIND = 'proxy_cache c; proxy_cache_valid any 1h; proxy_ignore_headers Cache-Control;';
our $TO    = 'proxy_set_header Authorization ""; proxy_pass http://$to;';

defaults(
    http_config => "    proxy_cache_path \$TEST_NGINX_SERVROOT/kept keys_zone=c:1m;\n" . gate_http(),
    accounts => "alice:secret\nmallory:secret\n",
    login    => 'alice:secret',
    user_files => ">>> users\noperator:" . Harness::Users::sha('letmein') . "\n",
    redis    => join("\n",
        'HSET docker-registry:user:mallory backends 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT',
        'HSET docker-registry:group:public grant:library/** pull',
        'RPUSH docker-registry:backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT') . "\n",
);
run_tests();

__DATA__
=== a key without the user: nothing that was kept is served, and nothing is kept
--- config eval
"        set \$to registry; location / { registry_auth R; $::BLIND $::TO }"
--- request eval
[ ("GET /v2/library/x/manifests/latest") x 2, "HEAD /v2/library/x/manifests/latest",
  "GET /v1/images/" . "a" x 64 . "/layer" ]
--- login eval
[ "mallory:secret", ("alice:secret") x 3 ]
--- error_code: 500
--- oci_error eval
[ ("UNKNOWN configuration") x 2, undef, "UNKNOWN configuration" ]
--- error_log
"proxy_cache_key"

=== a cache that others have filled: a location without a gate, and the same key
--- config eval
"        set \$to registry; location / { registry_auth R; $::BLIND $::TO proxy_cache_key \$request_uri; }
        location /open/ {
            registry_auth off; $::BLIND proxy_cache_key /v2/library/x/tags/list;
            proxy_pass http://127.0.0.1:\$TEST_NGINX_BACKEND_C_PORT;
        }"
--- request eval
[ "GET /open/", "GET /v2/library/x/tags/list", "GET /open/" ]
--- login eval
[ "", "alice:secret", "" ]
--- error_code eval
[ 200, 500, 200 ]
--- response_body_like eval
[ qr/backend: C/, qr/UNKNOWN/, qr/backend: C/ ]

=== a location without a gate, reached through one: the user's registry answers there, too
--- config eval
"        set \$to registry; location / { registry_auth R; try_files /none \@b; }
        location \@b { registry_auth off; $::BLIND $::TO }
        location /own { registry_auth off; $::BLIND proxy_cache_key a; $::TO }"
--- request eval
[ ("GET /v2/library/x/tags/list") x 2, ("GET /own") x 2 ]
--- login eval
[ "mallory:secret", "alice:secret", "", "" ]
--- error_code eval
[ 500, 500, 200, 200 ]
--- response_body_like eval
[ (qr/UNKNOWN/) x 2, (qr/backend: A/) x 2 ]

=== a key with the user: each user is served what the own registry has said
--- config eval
"        set \$to registry; location / { registry_auth R; "
    . "$::BLIND $::TO proxy_cache_key \"own \$registry_auth_user \$request_uri\"; "
    . "add_header X-Cache \$upstream_cache_status; }"
--- request eval
[ ("GET /v2/library/x/tags/list") x 6 ]
--- login eval
[ ("mallory:secret", "alice:secret", "") x 2 ]
--- response_body_like eval
[ (qr/backend: C/, qr/backend: B/, qr/backend: B/) x 2 ]
--- response_headers eval
[ ("X-Cache: MISS") x 3, ("X-Cache: HIT") x 3 ]

=== a key with the user: whom another module lets in has none, and another registry than the anonymous
--- config eval
"        location / { registry_auth R; satisfy any; auth_basic R; auth_basic_user_file html/users; "
    . "$::BLIND proxy_set_header Authorization ''; proxy_pass http://registry; "
    . "proxy_cache_key \"\$registry_auth_user \$request_uri\"; add_header X-Cache \$upstream_cache_status; }"
--- request eval
[ ("GET /v2/library/x/tags/list") x 6 ]
--- login eval
[ ("operator:letmein") x 2, "", "", "operator:letmein", "" ]
--- error_code eval
[ (200) x 4, 500, 200 ]
--- response_body_like eval
[ (qr/backend: A/) x 2, (qr/backend: B/) x 2, qr/UNKNOWN/, qr/backend: B/ ]
--- response_headers eval
[ ("X-Cache: MISS") x 3, "X-Cache: HIT", "!X-Cache", "X-Cache: HIT" ]
--- error_log
"satisfy any"
"$registry_auth_decision"

=== and is sent what the registry says, as the log has it done
--- http_config eval
"    map \$registry_auth_decision \$nobodys { granted ''; anonymous ''; default 1; }
    proxy_cache_path \$TEST_NGINX_SERVROOT/kept keys_zone=c:1m;\n" . Harness::gate_http()
--- config eval
"        location / { registry_auth R; satisfy any; auth_basic R; auth_basic_user_file html/users; "
    . "$::BLIND proxy_set_header Authorization ''; proxy_pass http://registry; "
    . "proxy_cache_bypass \$nobodys; proxy_no_cache \$nobodys; "
    . "proxy_cache_key \"\$registry_auth_user \$request_uri\"; add_header X-Cache \$upstream_cache_status; }"
--- request eval
[ ("GET /v2/library/z/tags/list") x 4 ]
--- login eval
[ "", "operator:letmein", "operator:letmein", "" ]
--- response_body_like eval
[ qr/backend: B/, (qr/backend: A/) x 2, qr/backend: B/ ]
--- response_headers eval
[ map { "X-Cache: $_" } qw(MISS BYPASS BYPASS HIT) ]

=== one registry for all: what it has said is for everybody who may read it
--- config eval
"        location / { registry_auth R; $::BLIND proxy_set_header Authorization \"\"; "
    . "proxy_pass http://127.0.0.1:\$TEST_NGINX_BACKEND_PORT; add_header X-Cache \$upstream_cache_status; }"
--- request eval
[ ("GET /v2/library/x/tags/list") x 2, "GET /v2/mallory/x/tags/list" ]
--- login eval
[ "mallory:secret", "alice:secret", "alice:secret" ]
--- error_code eval
[ 200, 200, 403 ]
--- response_headers eval
[ "X-Cache: MISS", "X-Cache: HIT", "!X-Cache" ]
