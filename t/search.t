# V1's search shows what its reader may pull and nothing else, as the
# catalogue does: registry_auth_v1_search.
use strict;
use warnings;
use lib 't/lib';
use Harness;

our $RESULTS =
    '{"num_results": 4, "query": "a\\"b", "results": [{"name": "alice/app", "description": "hers"}, '
        . '{"name": "bob/app", "description": "his"}, '
    . '{"name": "library/os", "description": null}, {"name": "os2", "description": ""}]}';

defaults(
    http_config => gate_http(),
    config      => gate_config(),
    accounts    => "alice:secret\nnobody:secret\n",
    backend     => "header: ETag: \"all\"\nheader: Content-Type: application/json\nbody: $RESULTS\n",
);
run_tests();

__DATA__
=== what the user may pull of the registry's results, with their number
--- login: alice:secret
--- request
GET /v1/search?q=a%22b&n=25
--- response_body chomp
{"num_results":1,"query":"a\"b","results":[{"name":"alice/app","description":"hers"}]}
--- response_headers
Content-Type: application/json
!ETag
!Docker-Distribution-Api-Version
--- forwarded: GET /v1/search?q=a%22b&n=25

=== a name of one segment is in library/, for who may pull from there
--- redis
HSET docker-registry:user:nobody grant:library/* pull
--- login: nobody:secret
--- request
GET /v1/search?q=os
--- response_body_like eval
qr(\A\{"num_results":2,.*"results":\[\{"name":"library/os","description":null\},\{"name":"os2","description":""\}\]\}\z)

=== a denial hides, public shows
--- redis
HSET docker-registry:group:public grant:** pull
HSET docker-registry:user:alice grant:!bob/** pull
--- login: alice:secret
--- request
GET /v1/search?q=a
--- response_body_like: "num_results":3
--- response_body_unlike: bob

=== who may pull nothing finds nothing
--- login: nobody:secret
--- request
GET /v1/search?q=a
--- response_body chomp
{"num_results":0,"query":"a\"b","results":[]}

=== it needs a login, also where all is public
--- redis
HSET docker-registry:group:public grant:** pull
--- request eval
[ ("GET /v1/search?q=a") x 2 ]
--- login eval
[ "", "alice:wrong" ]
--- error_code: 401
--- forwarded: 0
--- response_headers
WWW-Authenticate: Basic realm="Registry"

=== off: 403, and the registry is not asked
--- config eval
Harness::gate_config('registry_auth_v1_search off;')
--- login: alice:secret
--- request
GET /v1/search?q=a
--- error_code: 403
--- oci_error: DENIED the search is not available
--- forwarded: 0

=== the catalogue may be off, and the search not
--- config eval
Harness::gate_config('registry_auth_catalog off;')
--- login: alice:secret
--- request
GET /v1/search?q=a
--- response_body_like: "num_results":1

=== anything else is an error of the configuration
--- config eval
Harness::gate_config('registry_auth_v1_search on;')
--- must_die
--- error_log
"registry_auth_v1_search"
"on"

=== only GET, and no body
--- login: alice:secret
--- request eval
[ "HEAD /v1/search?q=a", "POST /v1/search?q=a", "DELETE /v1/search", "GET /v1/search/?q=a",
  "GET /v1/search?q=a\nq=b" ]
--- error_code: 404
--- forwarded: 0

=== conditions do not go on
--- login: alice:secret
--- more_headers
If-None-Match: *
--- request
GET /v1/search?q=a
--- response_body_like: "num_results":1
--- backend_not_received eval
qr/^if-/mi

=== what is no list of results: 502, and nothing of it gets out
--- login: alice:secret
--- backend
q=html => body: <html>bob/secret</html>
q=names => body: {"results":["bob/secret"]}
q=twice => body: {"results":[],"results":[{"name":"bob/secret"}]}
q=half => body: {"results":[{"name":"bob/secret"
q=other => status: 206
q=other => body: {"results":[{"name":"bob/secret"}]}
--- request eval
[ map {"GET /v1/search?q=$_"} qw(html names twice half other) ]
--- error_code: 502
--- oci_error: UNKNOWN search results
--- response_body_unlike: bob

=== the registry's own refusal reaches the client
--- login: alice:secret
--- backend
status: 404
body: no search here
--- request
GET /v1/search?q=a
--- error_code: 404
--- response_body chomp
no search here

=== too much: 502
--- login: alice:secret
--- backend eval
'body: {"results":['
    . CORE::join(',', ('{"name":"bob/secret","description":"' . 'x' x 1000 . '"}') x 1100) . ']}'
--- request
GET /v1/search?q=a
--- error_code: 502
--- oci_error: UNKNOWN
--- error_log
registry_auth: the registry's search results: a page is too long

=== past the gate, through a location without one: 502
--- config eval
'location / { registry_auth "Registry"; try_files /none @open; } '
    . 'location @open { proxy_pass http://registry; }'
--- login: alice:secret
--- request
GET /v1/search?q=a
--- error_code: 502
--- response_body_unlike: bob
