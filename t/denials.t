# docs/reference/answers.md: status, OCI code, challenge, headers; and
# that a denial is a well-behaved HTTP answer.
use strict;
use warnings;
use lib 't/lib';
use Harness;

defaults(
    http_config => gate_http(),
    config      => gate_config(),
    accounts    => "alice:secret\n",
);
run_tests();

__DATA__
=== no credentials: 401 UNAUTHORIZED with exactly one challenge
--- request eval
[ "GET /v2/", "GET /v2/alice/app/manifests/v1", "PUT /v2/alice/app/manifests/v1",
  "POST /v2/alice/app/blobs/uploads/", "GET /v2/_catalog" ]
--- error_code: 401
--- oci_error: UNAUTHORIZED
--- response_headers
WWW-Authenticate: Basic realm="Registry"
Docker-Distribution-Api-Version: registry/2.0
!Retry-After

=== verified, but no right: 403 DENIED without a challenge
--- login: alice:secret
--- request eval
[ "GET /v2/bob/app/manifests/v1", "PUT /v2/bob/app/manifests/v1", "DELETE /v2/bob/app/manifests/v1" ]
--- error_code: 403
--- oci_error: DENIED
--- response_headers
!WWW-Authenticate
!Retry-After
Docker-Distribution-Api-Version: registry/2.0

=== a repository without a namespace: the denial says which are the user's own
--- login: alice:secret
--- request eval
[ "PUT /v2/app/manifests/v1", "GET /v2/app/tags/list", "GET /v2/bob/app/tags/list" ]
--- error_code: 403
--- oci_error eval
[ "DENIED ^alice may not push app: your own repositories are alice/\\x{2026}\$",
  "DENIED ^alice may not pull app: your own", "DENIED ^alice may not pull bob/app\$" ]

=== not canonical: 400 NAME_INVALID
--- login: alice:secret
--- request
GET /v2/alice/%2e%2e/bob/tags/list
--- error_code: 400
--- oci_error: NAME_INVALID
--- response_headers
!WWW-Authenticate
Docker-Distribution-Api-Version: registry/2.0

=== not a registry route: 404 UNSUPPORTED
--- login: alice:secret
--- request eval
[ "GET /v2/alice/app", "POST /v2/alice/app/tags/list" ]
--- error_code: 404
--- oci_error: UNSUPPORTED
--- response_headers
!WWW-Authenticate
Docker-Distribution-Api-Version: registry/2.0

=== no backend: 503 UNAVAILABLE with Retry-After
--- http_config
    upstream registry { registry_auth_backends; }
--- login: alice:secret
--- request
GET /v2/
--- error_code: 503
--- oci_error: UNAVAILABLE
--- response_headers
!WWW-Authenticate
Docker-Distribution-Api-Version: registry/2.0
--- response_headers_like
Retry-After: [1-9]\d*
--- error_log
no backend

=== the hashing queue is full: 429 TOOMANYREQUESTS with Retry-After
--- skip_valgrind: slow hashes take minutes there
--- http_config eval
"    registry_auth_hashing threads=1 queue=1;\n" . Harness::gate_http()
--- users
alice:secret hash=bcrypt
--- request
GET /v2/
--- login: alice:secret
--- after
my @answer = http_many(24, "GET /v2/", login => 'alice:wrong%d');
my %count;
$count{ $_->{status} }++ for @answer;
my $seen = join ', ', map {"$_: $count{$_}"} sort keys %count;
die "expected 401 and 429, got $seen" unless $count{401} && $count{429} && keys %count == 2;
for my $answer (grep { $_->{status} == 429 } @answer) {
    die "no TOOMANYREQUESTS: $answer->{body}" unless $answer->{body} =~ /"code":\s*"TOOMANYREQUESTS"/;
    die "no Retry-After: $answer->{head}"     unless $answer->{head} =~ /^Retry-After: [1-9]\d*\r?$/mi;
    die "a challenge: $answer->{head}"        if $answer->{head} =~ /WWW-Authenticate/i;
}

=== under /v1/ there is no api-version of the V2
--- request eval
[ "GET /v1/repositories/alice/app/images", "GET /v1/nothing" ]
--- error_code eval
[ 401, 404 ]
--- oci_error eval
[ "UNAUTHORIZED", "UNSUPPORTED" ]
--- response_headers
!Docker-Distribution-Api-Version

=== an answer of the backend keeps its one api-version
--- login: alice:secret
--- request
GET /v2/
--- response_headers
Docker-Distribution-Api-Version: registry/2.0

=== HEAD is denied with the headers of GET and no body
--- request eval
[ "HEAD /v2/", "HEAD /v2/alice/app/manifests/v1", "HEAD /v2/alice/../app/manifests/v1" ]
--- error_code eval
[ 401, 401, 400 ]
--- response_body:
--- response_headers_like
Content-Type: application/json.*
Content-Length: [1-9]\d*
--- response_headers
Docker-Distribution-Api-Version: registry/2.0

=== HTTP/1.0
--- request eval
[ "GET /v2/ HTTP/1.0", "HEAD /v2/ HTTP/1.0", "PUT /v2/alice/app/manifests/v1 HTTP/1.0\nhello" ]
--- error_code: 401
--- response_headers
WWW-Authenticate: Basic realm="Registry"
--- response_headers_like
Connection: close
--- oci_error eval
[ "UNAUTHORIZED", undef, "UNAUTHORIZED" ]

=== a denied connection is kept
--- pipelined_requests eval
[ "GET /v2/", "GET /v2/bob/x/tags/list", "HEAD /v2/", "GET /nothing", "GET /v2/alice/app/tags/list",
  "GET /v2/a/../b" ]
--- login eval
[ "", "alice:secret", "", "alice:secret", "alice:secret", "" ]
--- error_code eval
[ 401, 403, 401, 404, 200, 400 ]
--- backend_received_by: A

=== the body of a denied request is discarded, its connection kept
--- pipelined_requests eval
[ "PUT /v2/alice/app/manifests/v1\n" . "x" x 40_000,
  "PATCH /v2/bob/x/blobs/uploads/1\n" . "GET /v2/alice/evil/tags/list HTTP/1.1\r\n\r\n" x 100,
  "GET /v2/alice/app/tags/list", "POST /v2/alice/app/nothing\nabc", "GET /v2/alice/app/tags/list" ]
--- login eval
[ "", "alice:secret", "alice:secret", "", "alice:secret" ]
--- error_code eval
[ 401, 403, 200, 404, 200 ]
--- backend_not_received
evil
--- backend_received_by: A A

=== a chunked body of a denied request too
--- pipelined_requests eval
[ "PATCH /v2/bob/x/blobs/uploads/1\n5\r\nhello\r\n0\r\n\r\n\n", "GET /v2/alice/app/tags/list" ]
--- more_headers eval
[ "Transfer-Encoding: chunked", "" ]
--- login: alice:secret
--- error_code eval
[ 403, 200 ]
--- backend_received_by: A

=== a body that was announced and never comes does not delay the denial
--- raw_request eval
"PUT /v2/alice/app/manifests/v1 HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
    . "Content-Length: 1000000\r\n\r\n"
--- timeout: 2
--- error_code: 401

=== the body of a permitted request that waited for Redis arrives whole
--- login: alice:secret
--- request eval
"PATCH /v2/alice/app/blobs/uploads/1\n" . "0123456789" x 30_000
--- backend_received_like eval
[ qr/^Content-Length: 300000$/m, qr/\n\n(?:0123456789){30000}\z/ ]

=== rule 13: quotes and backslashes of a realm are escaped
--- config
        location / {
            registry_auth "say \"hi\" \\o/";
            proxy_pass http://registry;
        }
--- request
GET /v2/
--- error_code: 401
--- response_headers
WWW-Authenticate: Basic realm="say \"hi\" \\o/"

=== rule 13: a realm with a variable
--- config
        location / {
            registry_auth "Registry $http_host $arg_x";
            proxy_pass http://registry;
        }
--- request eval
[ 'GET /v2/', 'GET /v2/?x=a",evil="b', 'GET /v2/?x=\\' ]
--- error_code: 401
--- response_headers eval
[ 'WWW-Authenticate: Basic realm="Registry localhost "',
  'WWW-Authenticate: Basic realm="Registry localhost a\",evil=\"b"',
  'WWW-Authenticate: Basic realm="Registry localhost \\\\"' ]

=== rule 13: CR, LF and other control bytes leave the realm, the header stays one line
--- config
        location / {
            set $evil "a\r\nX-Evil: 1\tb";
            registry_auth "R $evil";
            proxy_pass http://registry;
        }
--- request
GET /v2/
--- error_code: 401
--- response_headers
!X-Evil
--- response_headers_like
WWW-Authenticate: Basic realm="R aX-Evil: 1.?b"

=== a denial is nginx's status: error_page may answer it
--- config eval
Harness::gate_config('error_page 401 /login.txt; error_page 403 = @sorry;') . <<'EOC'
        location = /login.txt { internal; }
        location @sorry { add_header X-Sorry yes always; proxy_pass http://registry; }
EOC
--- user_files
>>> login.txt
please log in
--- login eval
[ "", "alice:secret" ]
--- request eval
[ "GET /v2/", "GET /v2/bob/x/tags/list" ]
--- error_code eval
[ 401, 200 ]
--- response_body_like eval
[ qr/^please log in$/m, qr/^backend: A$/m ]
--- response_headers eval
[ "WWW-Authenticate: Basic realm=\"Registry\"", "X-Sorry: yes" ]

=== nginx's own errors of a gated location have no body of ours
--- config eval
Harness::gate_config('client_max_body_size 10;')
--- login: alice:secret
--- request
PUT /v2/alice/app/manifests/v1
more than ten bytes
--- error_code: 413
--- backend_not_received

=== the answer of a backend is not touched: its 401, 403, 404 and body are its own
--- login: alice:secret
--- backend
a$ => status: 401
b$ => status: 403
c$ => status: 404
d$ => status: 503
body: {"errors":[{"code":"OWN"}]}
--- request eval
[ map {"GET /v2/alice/x/manifests/$_"} qw(a b c d) ]
--- error_code eval
[ 401, 403, 404, 503 ]
--- response_body chomp
{"errors":[{"code":"OWN"}]}
--- forwarded: 1

=== registry_auth off: no gate
--- config eval
Harness::gate_config('') =~ s/"Registry"/off/r
--- request eval
[ "GET /v2/", "GET /v2/a/../b", "GET /nothing" ]
--- forwarded: 1

=== many denials on kept connections, many at once
--- request
GET /v2/
--- error_code: 401
--- after
for my $round (1 .. 5) {
    my @answer = http_many(50, "GET /v2/alice/x/tags/list",
        login => $round % 2 ? 'alice:bad' : 'alice:secret');
    my $want = $round % 2 ? 401 : 200;
    my @other = grep { $_->{status} != $want } @answer;
    die "round $round: $other[0]{status} $other[0]{head}" if @other;
}

=== a body that arrives while Redis is asked goes on whole, the next request after it too
--- config eval
Harness::gate_config('')
    . "location /v2/stream/ { registry_auth Registry; proxy_request_buffering off; proxy_http_version 1.1; "
    . "proxy_pass http://registry; }"
--- redis
HSET docker-registry:user:alice grant:stream/** *
--- login: alice:secret
--- request
GET /v2/
--- after
for my $name (qw(alice/app stream/app)) {
    redis_server()->freeze;
    my $socket = Harness::Client::connect_to(Harness::expand('$TEST_NGINX_SERVER_PORT'));
    my $head = "Host: a\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\n";
    Harness::Client::write_all($socket,
        "PATCH /v2/$name/blobs/uploads/1 HTTP/1.1\r\n${head}Content-Length: 30000\r\n\r\n" . 'a' x 10_000);
    Time::HiRes::sleep(0.05);
    Harness::Client::write_all($socket, 'b' x 10_000);
    Time::HiRes::sleep(0.05);
    redis_server()->thaw;
    Time::HiRes::sleep(0.05);
    Harness::Client::write_all($socket,
        'c' x 10_000 . "GET /v2/$name/tags/list HTTP/1.1\r\n${head}Connection: close\r\n\r\n");
    my @status = map { $_->{status} } Harness::Client::receive($socket, 5, 'PATCH', 'GET');
    die "$name: @status" if "@status" ne '200 200';
    my ($patch, $get) = @{ Harness::backend()->received }[-2, -1];
    die "$name: body" if $patch->{raw} !~ /\r\n\r\na{10000}b{10000}c{10000}\z/;
    die "$name: $get->{line}" if $get->{line} !~ m{^GET /v2/$name/tags/list };
}

=== a denial that waited for Redis discards what arrives meanwhile
--- login: alice:secret
--- request
GET /v2/
--- after
redis_server()->freeze;
my $socket = Harness::Client::connect_to(Harness::expand('$TEST_NGINX_SERVER_PORT'));
my $head = "Host: a\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\n";
Harness::Client::write_all($socket,
    "PATCH /v2/bob/app/blobs/uploads/1 HTTP/1.1\r\n${head}Content-Length: 30000\r\n\r\n" . 'a' x 20_000);
Time::HiRes::sleep(0.05);
redis_server()->thaw;
Time::HiRes::sleep(0.1);
Harness::Client::write_all($socket,
    'c' x 10_000 . "GET /v2/alice/app/tags/list HTTP/1.1\r\n${head}Connection: close\r\n\r\n");
my @status = map { $_->{status} } Harness::Client::receive($socket, 5, 'PATCH', 'GET');
die "@status" if "@status" ne '403 200';
--- backend_received_by: A A

=== Expect: 100-continue is answered where the push is permitted
--- login: alice:secret
--- request
GET /v2/
--- after
my $socket = Harness::Client::connect_to(Harness::expand('$TEST_NGINX_SERVER_PORT'));
Harness::Client::write_all($socket,
    "PATCH /v2/alice/app/blobs/uploads/1 HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\n"
    . "Expect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n");
sysread $socket, my $first, 1000;
die $first if $first !~ m{^HTTP/1\.1 100 };
Harness::Client::write_all($socket, 'hello');
my ($answer) = Harness::Client::receive($socket, 5, 'PATCH');
die $answer->{status} if $answer->{status} != 200;
--- backend_received_like
^hello

=== HTTP/0.9: a body and nothing else
--- raw_request eval
"GET /v2/\r\n"
--- error_code: 0
--- after
my $socket = Harness::Client::connect_to(Harness::expand('$TEST_NGINX_SERVER_PORT'));
Harness::Client::write_all($socket, "GET /v2/\r\n");
my $all = do { local $/; <$socket> };
die $all if $all !~ /^\{"errors":\[\{"code":"UNAUTHORIZED"/;
--- backend_not_received
