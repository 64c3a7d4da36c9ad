# What is forwarded is what was decided about, also where a request was rewritten or moved: compared with
# what nginx has made of the variables of proxy_pass. What nginx -t can tell of that is in t/conf.t.
use strict;
use warnings;
use lib 't/lib';
use Harness;

our $GATE = 'registry_auth R; proxy_set_header Authorization "";';
our $LINE = 'registry_auth: another path or query would go on than the one that was decided about';

defaults(
    http_config => gate_http(),
    accounts    => "alice:secret\nbob:secret\n",
    login       => 'alice:secret',
);
run_tests();

__DATA__
=== a login by its path, and another's repository by the one that the client wrote
--- config eval
"        location / { $::GATE rewrite ^/.*(/v2/.*)\$ \$1 break; proxy_pass http://registry\$request_uri; }"
--- request eval
[ "GET /v2/bob/secret/manifests/v2/", "GET /v2/bob/secret/manifests/latest?x=/v2/",
  "GET /x/v2/alice/x/tags/list", "GET /v2/bob/x/tags/list?x=/v2/alice/x" ]
--- error_code eval
[ 500, 403, 500, 403 ]
--- oci_error eval
[ "UNKNOWN configuration", "DENIED", "UNKNOWN configuration", "DENIED" ]
--- forwarded: 0
--- error_log eval
$::LINE

=== an expression that makes everybody's repositories the user's own
--- config eval
"        location ~ ^/v2/(?<who>[a-z]+)/mirror/(?<rest>.*)\$ { $::GATE rewrite ^ /v2/alice/\$rest break; "
    . "proxy_pass http://registry\$request_uri; }"
--- request
GET /v2/bob/mirror/x/manifests/latest
--- error_code: 500
--- forwarded: 0
--- error_log eval
$::LINE

=== moved to a path of the user's own, with the one that the client wrote in a variable
--- config eval
"        location /v2/bob/ { rewrite ^ /v2/alice/x/tags/list last; }
        location /v2/alice/ { $::GATE set \$to registry\$request_uri; proxy_pass http://\$to; }"
--- request eval
[ "GET /v2/alice/x/tags/list", "GET /v2/bob/x/tags/list" ]
--- error_code eval
[ 200, 500 ]
--- forwarded eval
[ "GET /v2/alice/x/tags/list", 0 ]

=== each time, not only once a worker, and after the line of another request
--- config eval
"        set \$to registry; if (\$arg_other) { set \$to registry/v2/alice/y/tags/list; }
        location / { $::GATE rewrite ^/x(/v2/.*)\$ \$1 break; proxy_pass http://\$to; }
        location /w/ { $::GATE rewrite ^/w(/.*)\$ \$1 break; proxy_pass http://registry\$request_uri; }"
--- request eval
[ "GET /v2/alice/x/tags/list?other=1", "GET /w/v2/alice/x/tags/list", "GET /w/v2/alice/x/tags/list",
  "GET /x/v2/alice/x/tags/list?other=1" ]
--- error_code eval
[ 200, 500, 500, 500 ]

=== what was rewritten goes on as it was decided about, by whichever way
--- config eval
"        location / { $::GATE rewrite ^/x(/v2/.*)\$ \$1 break; proxy_pass http://registry; }
        location /y/ { $::GATE set \$to registry; rewrite ^/y(/v2/.*)\$ \$1 break; proxy_pass http://\$to; }
        location /z/ {
            $::GATE rewrite ^/z(/v2/.*)\$ \$1 break; proxy_pass http://registry\$uri\$is_args\$args;
        }"
--- request eval
[ "GET /x/v2/alice/x/tags/list?n=1", "GET /y/v2/alice/x/tags/list?n=1", "GET /z/v2/alice/x/tags/list?n=1",
  "GET /z/v2/alice/x/tags/list" ]
--- forwarded eval
[ ("GET /v2/alice/x/tags/list?n=1") x 3, "GET /v2/alice/x/tags/list" ]

=== a mount that was refused does not come back by a variable that was set before
--- config eval
"        location / { $::GATE set \$to registry\$request_uri; proxy_pass http://\$to; }"
--- request eval
[ map { "POST /v2/alice/x/blobs/uploads/?mount=sha256:" . "a" x 64 . "&from=$_/y" } qw(alice bob) ]
--- error_code eval
[ 200, 500 ]
--- error_log eval
$::LINE

=== nor does it to a registry for all, by whichever variable of proxy_pass
--- http_config eval
Harness::gate_http() . '    map $request_uri $mapped { default $request_uri; }
    map $registry_auth_user $fixed { alice 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT; }
    upstream fixed { server 127.0.0.1:$TEST_NGINX_BACKEND_PORT; }' . "\n"
--- config eval
my $to = 'http://127.0.0.1:$TEST_NGINX_BACKEND_PORT';
CORE::join "\n", "set \$orig \$request_uri; set \$q \$is_args\$args; if (\$mapped = '') { return 400; }",
    map { "location /v2/alice/$_->[0]/ { $::GATE proxy_pass $_->[1]; }" }
    [ a => "$to\$orig" ], [ b => 'http://fixed$orig' ], [ c => "$to\$uri\$q" ], [ d => "$to\$mapped" ],
    [ e => "$to\$request_uri" ], [ f => "$to\$uri\$is_args\$args" ], [ g => 'http://$fixed' ]
--- request eval
[ map { my $from = $_;
    map { "POST /v2/alice/$_/blobs/uploads/?mount=sha256:" . "a" x 64 . "&from=$from/y" } 'a' .. 'g' }
    qw(bob alice) ]
--- error_code eval
[ (500) x 4, (200) x 3, (200) x 7 ]
--- forwarded eval
[ (0) x 4, (map {"POST /v2/alice/$_/blobs/uploads/"} 'e' .. 'g'), (1) x 7 ]
--- error_log eval
$::LINE

=== a mount that was refused stays out of $request_uri, also where that was in use before
--- config eval
"        location / { $::GATE if (\$request_uri ~ none) { return 404; } "
    . "proxy_pass http://registry\$request_uri; }"
--- request eval
[ map { "POST /v2/alice/x/blobs/uploads/?mount=sha256:" . "a" x 64 . "&from=$_/y" } qw(alice bob) ]
--- error_code: 200
--- forwarded eval
[ 1, "POST /v2/alice/x/blobs/uploads/" ]

=== a copy to elsewhere is nobody's decision
--- config eval
"        location / { $::GATE mirror /copy; proxy_pass http://registry\$request_uri; }
        location = /copy { internal; $::GATE proxy_pass http://registry\$request_uri; }"
--- request
GET /v2/alice/x/tags/list
--- error_code: 200
--- no_error_log: would go on

=== parameters in the place of a target: of a path that was rewritten, or moved here, none tells another
--- config eval
my $param =
    ('$::GATE NAME_param HTTP_AUTHORIZATION ""; NAME_param DOCUMENT_URI $document_uri; '
        . 'NAME_param REQUEST_URI $request_uri; NAME_param END " GET /NAME HTTP/1.1\r\n\r\n"; '
        . 'NAME_pass registry;') =~ s/\$::GATE/registry_auth R;/r;
CORE::join "\n", map {
    my $here = $param =~ s/NAME/$_/gr;
    "location ~ ^/$_/moved(?<path>/.*)\$ { try_files /none \$path; }
     location ~ ^(?:/$_/x)?/v2/alice/$_/ { rewrite ^/$_/x(/.*)\$ \$1 break; $here }"
} qw(uwsgi scgi fastcgi)
--- request eval
[ map { my $name = $_; map { "GET $_/v2/alice/$name/tags/list" } "", "/$name/x", "/$name/moved"
  } qw(uwsgi scgi fastcgi) ]
--- backend
raw: HTTP/1.1 200 OK\r\nStatus: 200 OK\r\nContent-Type: text/plain\r\n\r\nyes
--- error_code eval
[ (200, 500, 500) x 2, 502, 500, 500 ]
--- error_log eval
[ map { "$::LINE, by the variables of \"${_}_param\"" } qw(uwsgi scgi fastcgi) ]

=== the catalogue's pages are asked for by its own query, by whichever way proxy_pass has the request's
--- config eval
"        location / { $::GATE proxy_pass http://registry\$request_uri; }
        location ~ ^/if/ {
            $::GATE if (\$request_uri ~ none) { return 404; }
            rewrite ^/if(/.*)\$ \$1 break; proxy_pass http://registry;
        }
        location /v2/_ {
            $::GATE if (\$request_uri ~ none) { return 404; } proxy_pass http://registry\$request_uri; }
        location /v1/ { $::GATE proxy_pass http://registry\$uri\$is_args\$args; }"
--- backend
_catalog => body: {"repositories":["alice/b","alice/c","bob/b"]}
search => body: {"results":[{"name":"alice/a"},{"name":"bob/b"}]}
--- request eval
[ "GET /v2/_catalog?n=2&last=alice/a", "GET /if/v2/_catalog?n=2&last=alice/a", "GET /v1/search?q=a" ]
--- forwarded eval
[ ("GET /v2/_catalog?n=1000&last=alice/a") x 2, "GET /v1/search?q=a" ]
--- response_body_like eval
[ (qr{^\{"repositories":\["alice/b","alice/c"\]\}$}) x 2, qr/alice/ ]

=== the name of the page that a variable has kept, too, for the cache's key
--- http_config eval
Harness::gate_http() . "    proxy_cache_path \$TEST_NGINX_SERVROOT/cache keys_zone=pages:1m;\n"
--- config eval
"        location / { $::GATE proxy_cache pages; proxy_cache_valid 200 1m;
            proxy_cache_key \"\$registry_auth_user \$request_uri\";
            proxy_pass http://registry; }"
--- backend
n=1000$ => body: {"repositories":["alice/a","bob/b"]}
n=1000$ => header: Link: </v2/_catalog?last=bob/b&n=1000>; rel="next"
last=bob => body: {"repositories":["bob/c","zed/d"]}
--- request eval
[ ("GET /v2/_catalog") x 2 ]
--- response_body eval
[ (qq({"repositories":["alice/a"]}\n)) x 2 ]
--- backend_received_like
last=bob

=== a variable that was made of the client's query asks for another list: 500, and the log says what to write
--- http_config eval
Harness::gate_http() . "    map \$request_uri \$mapped { default registry\$request_uri; }"
--- config eval
"        location / { $::GATE if (\$mapped = x) { return 404; } proxy_pass http://\$mapped; }"
--- backend
body: {"repositories":["alice/a","bob/b"]}
--- request eval
[ "GET /v2/_catalog?n=1", "GET /v2/_catalog", "GET /v2/_catalog?n=1000" ]
--- error_code eval
[ 500, 500, 200 ]
--- oci_error eval
[ "UNKNOWN configuration", "UNKNOWN configuration" ]
--- error_log
registry_auth: "proxy_pass" asks the registry for another list than the gate does: end it with the upstream

=== so does a query that the configuration has changed
--- config eval
"        location / { $::GATE set \$args \$args&n=7; proxy_pass http://registry; }"
--- backend
body: {"repositories":["alice/a","bob/b"]}
--- request
GET /v2/_catalog
--- error_code: 500
--- error_log
registry_auth: "proxy_pass" asks the registry for another list than the gate does

=== the same where the upstream is everybody's
--- http_config eval
"    upstream registry { server 127.0.0.1:\$TEST_NGINX_BACKEND_PORT; }
    map \$request_uri \$mapped { default registry\$request_uri; }"
--- config eval
"        location / { $::GATE if (\$mapped = x) { return 404; } proxy_pass http://\$mapped; }"
--- backend
body: {"repositories":["alice/a","bob/b"]}
--- request
GET /v2/_catalog?n=1
--- error_code: 500
--- error_log
registry_auth: "proxy_pass" asks the registry for another list than the gate does
