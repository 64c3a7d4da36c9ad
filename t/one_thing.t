# A location is one thing: a gate before a registry, the token endpoint, or the page with counters. Another
# directive that answers beside the latter two is an error of nginx -t, in either order and in blocks; and
# what nginx takes from the levels above never answers in their place.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Token;
use Harness::Zone;

my $ZONE   = "    registry_auth_cache zone=auth:1m;\n";
my $SERVER = 'registry_auth "Registry"; registry_auth_bearer http://localhost/token;';

# Directives that answer requests, each with the option of ./configure that it needs.
my @ANSWERING = (
    [ 'proxy_pass http://127.0.0.1:1;' ],
    [ 'proxy_pass http://$arg_to;' ],
    [ 'fastcgi_pass 127.0.0.1:1;' ],
    [ 'uwsgi_pass 127.0.0.1:1;' ],
    [ 'scgi_pass 127.0.0.1:1;' ],
    [ 'grpc_pass 127.0.0.1:1;', '--with-http_v2_module' ],
    [ 'memcached_pass 127.0.0.1:1;' ],
    [ 'empty_gif;' ],
    [ 'stub_status;',        '--with-http_stub_status_module' ],
    [ 'flv;',                '--with-http_flv_module' ],
    [ 'mp4;',                '--with-http_mp4_module' ],
    [ 'random_index on;',    '--with-http_random_index_module' ],
    [ 'dav_methods PUT;',    '--with-http_dav_module' ],
    [ 'autoindex on;' ],
    [ 'try_files /a /b;' ],
    [ 'return 200 "x";' ],
);

my $spec = '';
for my $page (qw(registry_auth_token registry_auth_status)) {
    for my $row (@ANSWERING) {
        my ($other, $needs) = @$row;
        my ($name) = $other =~ /^(\w+)/;
        my %place = (
            'after it'  => "location = /token { $page; $other }",
            'before it' => "location = /token { $other $page; }",
        );
        $place{'in an if block'}       = "location = /token { $page; if (\$arg_a) { $other } }"
            if $name =~ /_pass$/;
        $place{'in limit_except'}      = "location = /token { $page; limit_except GET { $other } }"
            if $name eq 'proxy_pass';
        for my $where (sort keys %place) {
            $spec .= spec_block(
                "$page and $other $where",
                no_redis    => '',
                must_die    => '',
                http_config => $ZONE,
                config      => "        $SERVER\n        $place{$where}\n",
                # Both places are named, which are one line here.
                error_log   => [ qq{"$name"}, qq{"$page"},
                    qr/nginx\.conf:(\d+)\) cannot .*nginx\.conf:\1$/m ],
                defined $needs ? (needs => $needs) : (),
            );
        }
    }
}
for (
    [ 'registry_auth_token; registry_auth_status;', '"registry_auth_token"', '"registry_auth_status"' ],
    [ 'registry_auth_status; registry_auth_token;', '"registry_auth_token"', '"registry_auth_status"' ],
    [ 'registry_auth_status; registry_auth "Registry";', '"registry_auth"', '"registry_auth_status"',
      'allow' ],
    [ 'registry_auth "Registry"; registry_auth_status;', '"registry_auth"', '"registry_auth_status"',
      'allow' ],
    [ 'registry_auth_status; limit_except GET { registry_auth "Registry"; }', '"registry_auth"',
      '"registry_auth_status"' ],
    [ 'registry_auth_token; limit_except GET { registry_auth off; }', '"registry_auth_token"',
      '"registry_auth"' ],
) {
    my ($text, @said) = @$_;
    $spec .= spec_block("refused: $text", no_redis => '', must_die => '', http_config => $ZONE,
        config => "        $SERVER\n        location = /token { $text }\n", error_log => \@said);
}
# What is written and changes nothing.
for (
    'registry_auth_token; autoindex off;',
    'registry_auth_token; if ($arg_a) { return 204; }',
    'registry_auth_token; limit_except GET POST { deny all; }',
    'registry_auth_status; registry_auth off; registry_auth_bearer off;',
    'registry_auth_token; proxy_set_header A b; proxy_method GET; mirror off; access_log off;',
) {
    $spec .= spec_block("accepted: $_", no_redis => '', config_ok => '', http_config => $ZONE,
        config => "        $SERVER\n        location = /token { $_ }\n",
        no_error_log => ['cannot stand', 'answers']);
}

defaults(
    http_config => zone_http('zone=auth:1m'),
    accounts    => "alice:secret\n",
);
run_tests($spec . join '', <DATA>);

__DATA__
=== a whole conflict in a file that is included: the error names both places
--- no_redis
--- must_die
--- user_files
>>> endpoint.conf
registry_auth_token;
proxy_pass http://127.0.0.1:1;
--- http_config
    registry_auth_cache zone=auth:1m;
--- config
        registry_auth "Registry"; registry_auth_bearer http://localhost/token;
        location = /token { include $TEST_NGINX_HTML_DIR/endpoint.conf; }
--- error_log
endpoint.conf:1
endpoint.conf:2

=== the endpoint answers, whatever it inherits that would answer: dav, autoindex, index, files of its name
--- needs: --with-http_dav_module
--- config
        registry_auth "Registry"; registry_auth_bearer http://localhost/token;
        dav_methods PUT DELETE; autoindex on; index token;
        location /token { registry_auth_token; }
        location / { proxy_pass http://registry; }
--- user_files
>>> token/token
a file
--- login: alice:secret
--- request eval
[ "GET /token", "GET /token/", "GET /token/token", "PUT /token/token\nx", "DELETE /token/token" ]
--- error_code eval
[ 200, 200, 200, 404, 404 ]
--- response_body_like eval
[ (qr/"token":/) x 3, (qr/UNSUPPORTED/) x 2 ]
--- forwarded: 0

=== an if block of the endpoint is the endpoint
--- config
        registry_auth "Registry"; registry_auth_bearer http://localhost/token;
        location = /token { registry_auth_token;
            if ($arg_a) { set $b 1; } if ($arg_c) { add_header X-C yes; } }
        location / { proxy_pass http://registry; }
--- login: alice:secret
--- request eval
[ "GET /token", "GET /token?a=1", "GET /token?c=1", "GET /token?a=1&c=1" ]
--- response_body_like: "token":
--- response_headers eval
[ "!X-C", "!X-C", "X-C: yes", "X-C: yes" ]
--- forwarded: 0

=== limit_except of the endpoint is the endpoint, with its own access rules
--- config
        registry_auth "Registry"; registry_auth_bearer http://localhost/token;
        location = /token { registry_auth_token; limit_except GET { deny all; } }
        location = /other { registry_auth_token; limit_except GET { allow all; } }
        location / { proxy_pass http://registry; }
--- request eval
[ "GET /token",
  map { my $path = $_; "POST $path\ngrant_type=password&service=registry&username=alice&password=secret"
  } "/token", "/other" ]
--- more_headers
Content-Type: application/x-www-form-urlencoded
--- error_code eval
[ 200, 403, 200 ]
--- response_body_like eval
[ qr/"token":/, qr/403/, qr/"token":/ ]
--- forwarded: 0

=== limit_except and if of the page with counters are that page
--- config
        registry_auth "Registry";
        location = /status { registry_auth_status;
            limit_except POST { allow all; } if ($arg_a) { set $b 1; } }
        location / { proxy_pass http://registry; }
--- request eval
[ "GET /status?format=json", "GET /status?format=json&a=1" ]
--- response_body_like: "requests":

=== satisfy any: an allowed address that was not asked gets no token, and no registry
--- config
        registry_auth "Registry"; registry_auth_bearer http://localhost/token;
        satisfy any; allow all;
        location = /token { registry_auth_token; }
        location / { proxy_pass http://registry; }
--- request
GET /token
--- error_code: 403
--- forwarded: 0

=== a location inside the endpoint is none, and has a gate
--- config
        registry_auth "Registry"; registry_auth_bearer http://localhost/token;
        location /token { registry_auth_token; location /token/v2/ { proxy_pass http://registry; } }
--- login: alice:secret
--- request eval
[ "GET /token", "GET /token/v2/" ]
--- error_code eval
[ 200, 404 ]
--- forwarded: 0

=== a subrequest to the endpoint passes no gate and gets no token
--- needs: --with-http_auth_request_module
--- config
        registry_auth "Registry"; registry_auth_bearer http://localhost/token;
        location = /token { registry_auth_token; }
        location = /v2/ { auth_request /token; proxy_pass http://registry; }
--- login: alice:secret
--- request
GET /v2/
--- error_code: 403
--- forwarded: 0

=== without a gate nothing happens: no thread, no connection to Redis, no line in the log
--- workers: 2
--- log_level: debug
--- skip_valgrind: one process there
--- http_config
    registry_auth_redis redis://127.0.0.1:$TEST_NGINX_DEAD_PORT;
    registry_auth_cache zone=auth:1m;
    registry_auth_hashing threads=4;
--- config
        location / { proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
        location = /off { registry_auth off; proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
--- restart
--- request eval
[ "GET /v2/", "GET /off" ]
--- forwarded: 1
--- after
for my $worker (nginx_server()->workers) {
    my @thread = glob "/proc/$worker/task/*";
    die "worker $worker has " . @thread . " threads" if @thread != 1;
}
my ($line) = nginx_server()->new_errors =~ /^(.*registry_auth:.*)$/m;
die $line if defined $line;

=== counters without a gate: the page is there, and still no thread
--- http_config
    registry_auth_redis redis://127.0.0.1:$TEST_NGINX_DEAD_PORT;
    registry_auth_cache zone=auth:1m;
--- config
        location = /status { registry_auth_status; }
--- skip_valgrind: its own threads
--- restart
--- request
GET /status?format=json
--- response_body_like: "requests":
--- after
for my $worker (nginx_server()->workers) {
    my @thread = glob "/proc/$worker/task/*";
    die "worker $worker has " . @thread . " threads" if @thread != 1;
}

=== with a gate there is the thread: the test above looks for the right thing
--- config eval
Harness::gate_config()
--- skip_valgrind: its own threads
--- restart
--- login: alice:secret
--- request
GET /v2/
--- after
for my $worker (nginx_server()->workers) {
    my @thread = glob "/proc/$worker/task/*";
    die "worker $worker has one thread" if @thread == 1;
}

=== a path that variables put in the place of the client's is logged once a worker
--- config
        set $to registry;
        if ($arg_other) { set $to registry/v2/bob/x/tags/list; }
        location / { registry_auth "R"; proxy_set_header Authorization ""; proxy_pass http://$to; }
--- restart
--- login: alice:secret
--- request eval
[ "GET /v2/alice/x/tags/list?other=1", "GET /v2/alice/x/tags/list?other=1" ]
--- forwarded: GET /v2/bob/x/tags/list
--- error_log
the variables of "proxy_pass" have a URI
--- after
my $count = () = nginx_server()->new_errors =~ /have a URI/g;
die "$count times" if $count != 1;

=== variables that choose the registry only are not told of
--- config
        set $to registry;
        location / { registry_auth "R"; proxy_set_header Authorization ""; proxy_pass http://$to; }
--- restart
--- login: alice:secret
--- request eval
[ "GET /v2/alice/x/tags/list?n=1", "GET /v2/alice/x%2fy",
  "POST /v2/alice/x/blobs/uploads/?mount=sha256:" . "a" x 64 . "&from=bob/x" ]
--- error_code eval
[ 200, 400, 200 ]
--- no_error_log
have a URI
