# Rule 16 further: internal redirects, subrequests and other detours
# around a gate that waits for Redis. A request that was not permitted reaches
# no backend by any of them, and nothing crashes.
use strict;
use warnings;
use lib 't/lib';
use Harness;

defaults(
    http_config => gate_http(),
    accounts    => "alice:secret\nbob:secret\n",
    redis       => "HSET other:user:alice password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n",
);
run_tests();

__DATA__
=== error_page 401 into a gated location is gated there: it cannot loop for ever
--- config eval
Harness::gate_config('error_page 401 = /v2/login/tags/list; recursive_error_pages on;')
--- login eval
[ "", "alice:wrong", "alice:secret" ]
--- request eval
[ ("GET /v2/") x 3 ]
--- error_code_like eval
[ qr/^(?:401|500)$/, qr/^(?:401|500)$/, qr/^200$/ ]
--- forwarded eval
[ 0, 0, 1 ]

=== error_page 403 into a location of another prefix asks again
--- config eval
Harness::gate_config('error_page 403 = @other;') . <<'EOC'
        location @other {
            registry_auth "Other";
            registry_auth_prefix other;
            add_header X-User "$registry_auth_user";
            proxy_pass http://registry;
        }
EOC
--- login eval
[ "alice:secret", "bob:secret" ]
--- request eval
[ "GET /v2/carol/x/tags/list", "GET /v2/carol/x/tags/list" ]
--- error_code eval
[ 403, 401 ]
--- forwarded: 0

=== error_page 404 of a backend into a location of another prefix: its accounts count
--- config eval
Harness::gate_config('proxy_intercept_errors on; error_page 404 = @other;') . <<'EOC'
        location @other {
            registry_auth "Other";
            registry_auth_prefix other;
            add_header X-User "$registry_auth_user";
            proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_B_PORT;
        }
EOC
--- backend
A => status: 404
--- login eval
[ "alice:secret", "bob:secret" ]
--- request eval
[ "GET /v2/alice/x/tags/list", "GET /v2/bob/x/tags/list" ]
--- error_code eval
[ 200, 401 ]
--- backend_received_by: A B A
--- response_headers eval
[ "X-User: alice", "WWW-Authenticate: Basic realm=\"Other\"" ]

=== a chain of named locations
--- config
        location / { registry_auth "R"; error_page 418 = @one; proxy_intercept_errors on;
            proxy_pass http://registry; }
        location @one { registry_auth "R"; error_page 418 = @two; recursive_error_pages on;
            proxy_intercept_errors on; proxy_pass http://registry; }
        location @two { registry_auth "R"; proxy_pass http://registry; }
--- backend
status: 418
--- login: alice:secret
--- request
GET /v2/alice/x/tags/list
--- error_code: 418

=== try_files in a gated location
--- config
        location / { registry_auth "R"; try_files $uri.json @go; }
        location @go { registry_auth "R"; proxy_pass http://registry; }
--- user_files
>>> v2/alice/x/tags/list.json
{"tags":["local"]}
--- login eval
[ "alice:secret", "alice:secret", "bob:secret", "" ]
--- request eval
[ "GET /v2/alice/x/tags/list", "GET /v2/alice/y/tags/list", "GET /v2/alice/x/tags/list",
  "GET /v2/alice/x/tags/list" ]
--- error_code eval
[ 200, 200, 403, 401 ]
--- response_body_like eval
[ qr/local/, qr/^backend: A/, qr/DENIED/, qr/UNAUTHORIZED/ ]
--- forwarded eval
[ 0, 1, 0, 0 ]

=== a static file behind the gate
--- config
        location / { registry_auth "R"; root $TEST_NGINX_HTML_DIR; default_type application/json; }
--- user_files
>>> v2/alice/s/manifests/v1
{"static":true}
--- login eval
[ "alice:secret", "bob:secret" ]
--- request eval
[ ("GET /v2/alice/s/manifests/v1") x 2 ]
--- error_code eval
[ 200, 403 ]

=== content handlers of other kinds: return comes before the gate, empty_gif and autoindex after
--- config
        location = /v2/ { registry_auth "R"; empty_gif; }
--- login eval
[ "alice:secret", "" ]
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code eval
[ 200, 401 ]

=== mirror: a copy of a permitted request goes to the other backend, of a refused one nowhere
--- config eval
Harness::gate_config('mirror /copy;') . <<'EOC'
        location = /copy { internal; proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_B_PORT$request_uri; }
EOC
--- login eval
[ "alice:secret", "alice:wrong", "" ]
--- request eval
[ ("GET /v2/alice/x/tags/list") x 3 ]
--- error_code eval
[ 200, 401, 401 ]
--- wait: 0.2
--- after
Time::HiRes::sleep(0.2);
my $by = CORE::join ' ', sort map { $_->{backend} } @{ Harness::backend()->received };
die $by if $by ne 'A B';

=== auth_request beside the gate, which waits too
--- needs: --with-http_auth_request_module
--- config eval
Harness::gate_config('auth_request /check;') . <<'EOC'
        location = /check { internal; proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_B_PORT;
            proxy_pass_request_body off; proxy_set_header Content-Length ""; }
EOC
--- backend
B => delay: 0.05
--- login eval
[ "alice:secret", "alice:wrong", "alice:secret" ]
--- request eval
[ "GET /v2/alice/x/tags/list", "GET /v2/alice/x/tags/list", "PUT /v2/alice/x/manifests/v1\nhello" ]
--- error_code eval
[ 200, 401, 200 ]
--- backend_received_like
^hello

=== auth_request refuses what the gate would permit
--- needs: --with-http_auth_request_module
--- config eval
Harness::gate_config('auth_request /check;') . "location = /check { internal; return 403; }\n"
--- login: alice:secret
--- request
GET /v2/alice/x/tags/list
--- error_code: 403
--- forwarded: 0

=== SSI and addition run subrequests into the gate after it was passed
--- needs: --with-http_addition_module
--- config eval
Harness::gate_config('ssi on; ssi_types text/plain; add_after_body /v2/alice/after/tags/list;')
--- backend
x/tags => body: before <!--# include virtual="/v2/bob/secret/tags/list" --> after\n
--- login: alice:secret
--- request
GET /v2/alice/x/tags/list
--- backend_received_like
^GET /v2/alice/x/tags/list

=== post_action after a gated request
--- config eval
Harness::gate_config('post_action @done;') . <<'EOC'
        location @done { proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_B_PORT;
            proxy_set_header X-Result "$registry_auth_user:$registry_auth_result"; }
EOC
--- login eval
[ "alice:secret", "alice:wrong" ]
--- request eval
[ ("GET /v2/alice/x/tags/list") x 2 ]
--- error_code eval
[ 200, 401 ]
--- after
Time::HiRes::sleep(0.1);
my @result = map { $_->{text} =~ /^X-Result: (.*)/m } @{ Harness::backend()->received };
die "@result" if "@result" ne 'alice:granted :unauthenticated';

=== slice and cache behind the gate: a cached answer is for the permitted only
--- http_config eval
Harness::gate_http() . "    proxy_cache_path \$TEST_NGINX_SERVROOT/cache keys_zone=c:1m;\n"
--- config eval
Harness::gate_config(
    'proxy_cache c; proxy_cache_valid 200 1m; proxy_cache_key "$registry_auth_user $request_uri";')
--- login eval
[ "alice:secret", "alice:secret", "bob:secret", "" ]
--- request eval
[ ("GET /v2/alice/x/manifests/v1") x 4 ]
--- error_code eval
[ 200, 200, 403, 401 ]
--- backend_received_by: A

=== limit_req delays a request before the gate
--- http_config eval
Harness::gate_http() . "    limit_req_zone \$server_name zone=r:1m rate=50r/s;\n"
--- config eval
Harness::gate_config('limit_req zone=r burst=20;')
--- login: alice:secret
--- request eval
[ ("GET /v2/") x 5 ]
--- after
my @other = grep { $_->{status} != 200 } Harness::http_many(10, 'GET /v2/', login => 'alice:secret');
die $other[0]{status} if @other;

=== limit_conn counts requests that wait
--- http_config eval
Harness::gate_http() . "    limit_conn_zone \$server_name zone=n:1m;\n"
--- config eval
Harness::gate_config('limit_conn n 5; limit_conn_status 429;')
--- login: alice:secret
--- request
GET /v2/
--- after
redis_server()->freeze;
my @socket = map { Harness::Client::connect_to(Harness::expand('$TEST_NGINX_SERVER_PORT')) } 1 .. 8;
Harness::Client::write_all($_,
    "GET /v2/ HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\nConnection: close\r\n\r\n")
    for @socket;
Time::HiRes::sleep(0.2);
redis_server()->thaw;
my %count;
$count{ (Harness::Client::receive($_, 5, 'GET'))[0]{status} }++ for @socket;
die CORE::join ' ', %count if $count{200} != 5 || $count{429} != 3;

=== a client that closes its sending side only is still answered, or logged as 499
--- config eval
Harness::gate_config()
--- login: alice:secret
--- request
GET /v2/
--- after
redis_server()->freeze;
my $socket = Harness::Client::connect_to(Harness::expand('$TEST_NGINX_SERVER_PORT'));
Harness::Client::write_all($socket,
    "GET /v2/ HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\nConnection: close\r\n\r\n");
shutdown $socket, 1;
Time::HiRes::sleep(0.1);
redis_server()->thaw;
local $/;
my $all = <$socket> // '';
die $all if length $all && $all !~ m{^HTTP/1\.1 200 };

=== nginx stops while lookups wait
--- config eval
Harness::gate_config()
--- restart
--- login: alice:secret
--- request
GET /v2/
--- after
redis_server()->freeze;
my @socket = map { Harness::Client::connect_to(Harness::expand('$TEST_NGINX_SERVER_PORT')) } 1 .. 10;
Harness::Client::write_all($_,
    "GET /v2/ HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n") for @socket;
Time::HiRes::sleep(0.1);
my $start = Time::HiRes::time();
Harness::Process::stop(nginx_server()->{pid}, 'TERM', 5) // die 'it had to be killed';
my $time = Time::HiRes::time() - $start;
redis_server()->thaw;
delete nginx_server()->{pid};
nginx_server()->{running} = '';
die "$time s" if $time > Harness::Valgrind::timeout(1.5);
