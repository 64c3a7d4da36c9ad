# What is known of one request is never another's: neither of the requests that
# nginx makes beside it (mirror, auth_request, slice, addition, ...), nor of the
# same one after nginx has moved it to another location.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;

# A client that resets its connection while its lookup waits, and is gone when
# the answer comes.
sub goes_away {
    my ($uri, $login) = @_;
    redis_server()->freeze;
    my $socket = Harness::Client::connect_to(expand('$TEST_NGINX_SERVER_PORT'));
    my $request = Harness::Client::parse_request("GET $uri", '', $login, 0);
    Harness::Client::write_all($socket, Harness::Client::bytes($request));
    Time::HiRes::sleep(0.1);
    setsockopt $socket, Socket::SOL_SOCKET(), Socket::SO_LINGER(), pack 'ii', 1, 0;
    close $socket;
    Time::HiRes::sleep(0.1);
    redis_server()->thaw;
    Time::HiRes::sleep(0.2);
}

defaults(
    http_config => zone_http('zone=auth:1m ttl=30s'),
    accounts    => "alice:secret\nbob:secret\n",
);
run_tests();

__DATA__
=== a request that post_action takes elsewhere while it waits: its answer is not the other keyspace's
--- config
        location /v2/a/ {
            registry_auth_prefix pa;
            registry_auth "R";
            post_action @b;
            proxy_pass http://registry;
        }
        location @b { registry_auth_prefix pb; registry_auth "R"; proxy_pass http://registry; }
        location / {
            registry_auth_prefix pb;
            registry_auth "R";
            add_header X-Cache $registry_auth_cache always;
            proxy_pass http://registry;
        }
--- accounts
--- redis
HSET pa:user:alice password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ= grant:** pull
HSET pb:user:alice password {SHA}0JQeaNqPOBUf+Gph/Fn3xc+fyqI=
HSET pb:user:bob password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
--- init
soon('the zone is trusted', '200 HIT', sub { asked('bob:secret') });
equal(asked('alice:secret') =~ s/ .*//r, 401, 'not in pb');
redis('HSET pb:user:alice grant:x pull');    # what pb knew of alice is forgotten
main::goes_away('/v2/a/x/tags/list', 'alice:secret');
--- login: alice:secret
--- request eval
[ ("GET /v2/") x 3 ]
--- error_code: 401

=== where the other location has no gate, nothing is done for it when the answer comes
--- config eval
main::zone_config() . <<'EOC'
        location /v2/a/ { registry_auth "R"; post_action @b; proxy_pass http://registry; }
        location @b { proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_B_PORT;
            proxy_set_header X-User "$registry_auth_user:"; }
EOC
--- backend
B => delay: 0.3
--- init
main::goes_away('/v2/a/x/tags/list', 'alice:secret');
--- login: alice:secret
--- request
GET /v2/
--- after
soon('the other one was served once', 1,
    sub { scalar grep { $_->{backend} eq 'B' } @{ Harness::backend()->received } });
my ($received) = grep { $_->{backend} eq 'B' } @{ Harness::backend()->received };
equal(($received->{text} =~ /^X-User: (.*)/m)[0], ':', 'nobody was verified there');

=== mirror to a proxied target, of a catalogue that the registry refuses: the connection goes on
--- config eval
main::zone_config('mirror /copy; proxy_set_header Connection "";') . <<'EOC'
        location = /copy { internal; proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_B_PORT$request_uri; }
EOC
--- backend
/v2/_catalog => status: 404
A => delay: 0.1
B => status: 200
--- login: alice:secret
--- pipelined_requests eval
[ ("GET /v2/_catalog", "GET /v2/alice/x/tags/list") x 2 ]
--- error_code eval
[ (404, 200) x 2 ]
--- response_body_like eval
[ (qr{^backend: A\nmethod: GET\nuri: /v2/_catalog\?n=},
  qr{^backend: A\nmethod: GET\nuri: /v2/alice/x/tags/list\n}) x 2 ]

=== auth_request to a proxied service beside a catalogue
--- needs: --with-http_auth_request_module
--- config eval
main::zone_config('auth_request /check;') . <<'EOC'
        location = /check { internal; proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_B_PORT; }
EOC
--- backend
GET /v2/_catalog => header: Content-Type: application/json
GET /v2/_catalog => body: {"repositories":["alice/x","bob/y"]}
--- login: alice:secret
--- pipelined_requests eval
[ ("GET /v2/_catalog", "GET /v2/alice/x/tags/list") x 2 ]
--- error_code: 200
--- response_body_like eval
[ (qr/^\{"repositories":\["alice\/x"\]\}$/, qr/^backend: A/) x 2 ]

=== auth_request that refuses a catalogue: the page is nginx's, and whole
--- needs: --with-http_auth_request_module
--- config eval
main::zone_config('auth_request /check;') . <<'EOC'
        location = /check { internal; proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_B_PORT; }
EOC
--- backend
GET /v2/_catalog => body: {"repositories":["alice/x","bob/y"]}
B => status: 403
--- login: alice:secret
--- pipelined_requests eval
[ "GET /v2/_catalog", "GET /v2/alice/x/tags/list", "GET /v2/_catalog" ]
--- error_code: 403
--- response_body_like: <center>nginx

=== a page of error_page in another location is the administrator's, with and without our variables
--- config eval
main::zone_config('error_page 403 @denied; error_page 401 /sorry/page; error_page 404 =410 @gone;') . <<'EOC'
        location @denied { return 403 "sorry $registry_auth_user\n"; }
        location /sorry/ { return 401 "who? $registry_auth_user$registry_auth_result\n"; }
        location @gone { return 404 "gone\n"; }
EOC
--- login eval
[ "alice:secret", "alice:wrong", "alice:secret", "alice:secret" ]
--- request eval
[ "GET /v2/bob/x/tags/list", "GET /v2/", "GET /v3/", "GET /v2/alice/x/tags/list" ]
--- error_code eval
[ 403, 401, 410, 200 ]
--- response_body_like eval
[ qr/^sorry alice\n$/, qr/^who\? unauthenticated\n$/, qr/^gone\n$/, qr/^backend: A/ ]

=== the same where the log looks at our variables first
--- http_config eval
main::zone_http('zone=auth:1m')
    . "    log_format ours '\$registry_auth_user:\$registry_auth_result:\$status';\n"
    . "    access_log \$TEST_NGINX_SERVROOT/logs/access.log ours;\n"
--- config eval
main::zone_config('error_page 403 @denied;') . <<'EOC'
        location @denied { add_header X-User "$registry_auth_user" always; return 403 "sorry\n"; }
EOC
--- login: alice:secret
--- request
GET /v2/bob/x/tags/list
--- error_code: 403
--- response_body
sorry
--- response_headers
X-User: alice
--- access_log
alice:denied:403

=== a request beside it does not enter a location that has another prefix: nobody has passed that gate
--- config eval
main::zone_config('mirror /copy;') . <<'EOC'
        location = /copy {
            internal;
            registry_auth "Other";
            registry_auth_prefix other;
            proxy_pass http://registry$request_uri;
            proxy_set_header X-User "$registry_auth_user:";
        }
EOC
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT
--- login: alice:secret
--- request
GET /v2/alice/x/tags/list
--- error_log
registry_auth: a subrequest is refused
--- backend_received_by: C

=== an identity is not that of a request that was moved to another prefix, before it was decided on
--- config eval
main::zone_config('error_page 404 = /other$uri; proxy_intercept_errors on;') . <<'EOC'
        location /other/ {
            registry_auth "Other";
            registry_auth_prefix other;
            set $early "user=$registry_auth_user";
            rewrite ^/other(.*)$ $1 break;
            add_header X-Early $early always;
            proxy_pass http://registry;
        }
EOC
--- redis
HSET other:user:bob password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
--- backend
status: 404
--- login eval
[ "alice:secret", "bob:secret" ]
--- request eval
[ "GET /v2/alice/x/tags/list", "GET /v2/bob/x/tags/list" ]
--- error_code eval
[ 401, 404 ]
--- response_headers
X-Early: user=

=== the log says of a request what was decided on it, not on its copy
--- config eval
main::zone_config('mirror /copy; mirror /nowhere;') . <<'EOC'
        location = /copy { internal; proxy_pass http://copies; }
        location = /nowhere { internal; proxy_pass http://nobodys; }
EOC
--- http_config eval
main::zone_http('zone=auth:1m') . <<'EOC'
    upstream copies { registry_auth_backends; }
    upstream nobodys { registry_auth_backends allow=192.0.2.0/24; }
    log_format ours '<$registry_auth_result $registry_auth_backend>';
    access_log $TEST_NGINX_SERVROOT/logs/access.log ours;
EOC
--- redis
RPUSH docker-registry:backends 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT
--- login: alice:secret
--- pipelined_requests eval
[ ("GET /v2/alice/x/tags/list") x 2 ]
--- error_code: 200
--- access_log eval
Harness::expand('<granted 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT>')
--- no_access_log
unavailable

=== a token is for who asked for it there: not for a request beside it, of other accounts
--- needs: --with-http_addition_module
--- config
        registry_auth_bearer http://localhost/token service=here;
        location = /token {
            registry_auth "R";
            registry_auth_token;
            addition_types application/json;
            add_after_body /other;
        }
        location = /other { internal; registry_auth "R"; registry_auth_prefix other; registry_auth_token; }
--- login: alice:secret
--- request
GET /token?service=here
--- response_body_like eval
qr/^\{"token":"[^"]+","access_token":[^}]+\}[^{}]*403[^{}]*$/

=== a token endpoint to which another one's refusal leads reads anew what is asked for
--- config
        location = /token {
            registry_auth "R";
            registry_auth_bearer http://localhost/token service=here;
            registry_auth_token;
            error_page 401 = @there;
        }
        location @there {
            registry_auth "R";
            registry_auth_prefix other;
            registry_auth_bearer http://localhost/token service=there;
            registry_auth_token;
        }
--- redis
HSET other:user:carol password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
--- login eval
[ "alice:secret", "carol:secret" ]
--- request eval
[ ("GET /token?service=here") x 2 ]
--- error_code eval
[ 200, 400 ]
--- response_body_like eval
[ qr/"token"/, qr/unknown service|"UNSUPPORTED"/ ]

=== a refusal is worded also where a backend was asked before
--- config eval
main::zone_config('proxy_intercept_errors on; error_page 404 = @other;') . <<'EOC'
        location @other { registry_auth "Other"; registry_auth_prefix other; proxy_pass http://registry; }
EOC
--- backend
status: 404
--- login: alice:secret
--- request
GET /v2/alice/x/tags/list
--- error_code: 401
--- oci_error: UNAUTHORIZED

=== a page of the administrator's in the place of a catalogue that the registry refuses, whatever its status
--- config eval
main::zone_config('proxy_intercept_errors on; error_page 404 = @page;') . <<'EOC'
        location @page { return 200 "no catalog here\n"; }
EOC
--- backend
status: 404
--- login: alice:secret
--- request
GET /v2/_catalog
--- response_body
no catalog here

=== error_page does not lead the registry's refusal of a catalogue to another registry's catalogue
--- config eval
main::zone_config('proxy_intercept_errors on; error_page 404 = @fallback;') . <<'EOC'
        location @fallback { registry_auth "Other"; registry_auth_prefix other;
            proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_B_PORT; }
EOC
--- backend
A => status: 404
B => body: {"repositories":["alice/theirs"]}
--- login: alice:secret
--- request
GET /v2/_catalog
--- error_code: 401
--- response_body_unlike: alice/theirs

=== nor does X-Accel-Redirect to a location of another prefix, which nobody has asked
--- config eval
main::zone_config() =~ s{//registry;}{//127.0.0.1:\$TEST_NGINX_BACKEND_PORT;}r . <<'EOC'
        location /inner { registry_auth "Other"; registry_auth_prefix other;
            proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_B_PORT; }
EOC
--- backend
A => header: X-Accel-Redirect: /inner
B => body: {"repositories":["alice/theirs"]}
--- login: alice:secret
--- request
GET /v2/_catalog
--- error_code: 502
--- oci_error: UNKNOWN
--- error_log
the registry's catalog: it comes from a location of another registry_auth_prefix
