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
[ "GET /v2/bob/secret/manifests/v2/", "GET /v2/bob/secret/manifests/latest?x=/v2/", "GET /x/v2/alice/x/tags/list", "GET /v2/bob/x/tags/list?x=/v2/alice/x" ]
--- error_code eval
[ 500, 403, 500, 403 ]
--- oci_error eval
[ "UNKNOWN configuration", "DENIED", "UNKNOWN configuration", "DENIED" ]
--- forwarded: 0
--- error_log eval
$::LINE

=== an expression that makes everybody's repositories the user's own
--- config eval
"        location ~ ^/v2/(?<who>[a-z]+)/mirror/(?<rest>.*)\$ { $::GATE rewrite ^ /v2/alice/\$rest break; proxy_pass http://registry\$request_uri; }"
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
[ "GET /v2/alice/x/tags/list?other=1", "GET /w/v2/alice/x/tags/list", "GET /w/v2/alice/x/tags/list", "GET /x/v2/alice/x/tags/list?other=1" ]
--- error_code eval
[ 200, 500, 500, 500 ]

=== what was rewritten goes on as it was decided about, by whichever way
--- config eval
"        location / { $::GATE rewrite ^/x(/v2/.*)\$ \$1 break; proxy_pass http://registry; }
        location /y/ { $::GATE set \$to registry; rewrite ^/y(/v2/.*)\$ \$1 break; proxy_pass http://\$to; }
        location /z/ { $::GATE rewrite ^/z(/v2/.*)\$ \$1 break; proxy_pass http://registry\$uri\$is_args\$args; }"
--- request eval
[ "GET /x/v2/alice/x/tags/list?n=1", "GET /y/v2/alice/x/tags/list?n=1", "GET /z/v2/alice/x/tags/list?n=1", "GET /z/v2/alice/x/tags/list" ]
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

=== a copy to elsewhere is nobody's decision
--- config eval
"        location / { $::GATE mirror /copy; proxy_pass http://registry\$request_uri; }
        location = /copy { internal; $::GATE proxy_pass http://registry\$request_uri; }"
--- request
GET /v2/alice/x/tags/list
--- error_code: 200
--- no_error_log: would go on
