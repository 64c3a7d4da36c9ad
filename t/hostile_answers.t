# A backend may be anybody's. What nginx takes for the body of an answer, and the client for another answer,
# has headers that no filter sees: X-Docker-Endpoints, Location and WWW-Authenticate say where passwords go.
use strict;
use warnings;
use lib 't/lib';
use Harness;

# What a client would believe.
my %INNER = (
    endpoints => 'HTTP/1.1 200 OK\r\nX-Docker-Endpoints: evil.example\r\nContent-Length: 2\r\n\r\n[]',
    redirect  => 'HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\nContent-Length: 0\r\n\r\n',
    challenge =>
        'HTTP/1.1 401 U\r\nWWW-Authenticate: Bearer realm="https://evil.example/token"\r\nContent-Length: '
            . '0\r\n\r\n',
);

# How it is handed over, and what the log says of that.
my $STATUS  = 'registry_auth: the registry answers with the interim status ';
my $VERSION = 'registry_auth: the registry does not answer in HTTP';
my $REASON  = 'registry_auth: the registry has a control character in its status line';
my @WRAPPED = (
    (map { my $status = $_; [ "a final status $_", sub { "HTTP/1.1 $status X\\r\\n\\r\\n$_[0]" },
        "$STATUS$status" ] } 100, 102, 103, 199),
    [ 'a final status 100 with a length',
      sub { 'HTTP/1.1 100 X\r\nContent-Length: ' . len($_[0]) . "\\r\\n\\r\\n$_[0]" }, $STATUS . 100 ],
    [ '101 that nobody asked for',
      sub { "HTTP/1.1 101 X\\r\\nConnection: upgrade\\r\\nUpgrade: x\\r\\n\\r\\n$_[0]" }, $STATUS . 101 ],
    [ 'a final status 000', sub { "HTTP/1.1 000 X\\r\\n\\r\\n$_[0]" }, $VERSION ],
    [ 'HTTP/0.9',            sub { $_[0] =~ s{^HTTP/1.1}{HTTP/0.9}r },   $VERSION ],
    [ 'HTTP/1.1000',          sub { $_[0] =~ s{^HTTP/1.1}{HTTP/1.1000}r }, $VERSION ],
    [ 'a tab in the status line', sub { $_[0] =~ s{ }{\\t}r },           $VERSION ],
    (map { my $byte = $_; [ "\\x$byte in the reason phrase",
        sub { $_[0] =~ s{^(HTTP/1.1 \d+) \S+?(\\r\\n)(.*)}{$1 O\\x${byte}K$2$3}r }, $REASON ]
        } qw(00 01 08 0b 0c 1b 7f)),
    [ 'a bare CR in the reason phrase', sub { $_[0] =~ s{\\r\\n}{\\r}r }, $VERSION ],
    [ 'no status line',      sub {"SSH-2.0-evil\\r\\n$_[0]"},              $VERSION ],
);

sub len { length($_[0] =~ s/\\[rnt]/x/gr) }

my @REQUEST = ('GET /v1/repositories/alice/app/images', 'GET /v2/alice/app/manifests/latest',
    'HEAD /v2/alice/app/manifests/latest', "PUT /v2/alice/app/manifests/latest\n{}");

my $spec = '';
for my $wrapped (@WRAPPED) {
    my ($title, $wrap, $log) = @$wrapped;
    for my $what (sort keys %INNER) {
        $spec .= spec_block(
            "$title hides an answer: 502 ($what)",
            request                     => [@REQUEST],
            login                       => 'alice:secret',
            backend                     => 'raw: ' . $wrap->($INNER{$what}) . "\n",
            error_code                  => 502,
            oci_error                   => [ ('UNKNOWN malformed') x 2, undef, 'UNKNOWN malformed' ],
            raw_response_headers_unlike => 'evil',
            response_body_unlike        => 'evil',
            error_log                   => $log,
            # Later ones read on: what follows a 103 is the answer, and all filters see it.
            ($title eq 'a final status 103' ? (needs => 'nginx before 1.29.0') : ()),
        );
    }
}

$spec .= spec_block(
    'what follows a 103 goes through the filters where nginx takes it for the answer: a challenge is none',
    needs                       => 'nginx 1.29.0',
    request                     => [@REQUEST],
    login                       => 'alice:secret',
    backend                     => 'raw: HTTP/1.1 103 X\r\n\r\n' . $INNER{challenge} . "\n",
    error_code                  => 401,
    raw_response_headers_unlike => 'evil',
    response_body_unlike        => 'evil',
);

defaults(
    http_config => gate_http(),
    config      => gate_config(),
    accounts    => "alice:secret\n",
);
run_tests($spec . join '', <DATA>);

__DATA__
=== the same over HTTP/2
--- http2
--- login: alice:secret
--- backend
app/manifests => raw: HTTP/1.1 100 X\r\n\r\n\
  HTTP/1.1 200 OK\r\nX-Docker-Endpoints: evil.example\r\n\r\n
app/tags => raw: HTTP/0.9 200 OK\r\nX-Docker-Endpoints: evil.example\r\n\r\n
--- request eval
[ "GET /v2/alice/app/manifests/latest", "GET /v2/alice/app/tags/list" ]
--- error_code: 502
--- oci_error: UNKNOWN malformed
--- response_body_unlike: evil

=== where answers are not buffered
--- config eval
Harness::gate_config('proxy_buffering off;')
--- login: alice:secret
--- backend
app/manifests => raw: HTTP/1.1 100 X\r\n\r\n\
  HTTP/1.1 200 OK\r\nX-Docker-Endpoints: evil.example\r\n\r\n
app/tags => raw: HTTP/0.9 200 OK\r\nX-Docker-Endpoints: evil.example\r\n\r\n
--- request eval
[ ("GET /v2/alice/app/manifests/latest", "GET /v2/alice/app/tags/list") x 2 ]
--- error_code: 502
--- oci_error: UNKNOWN malformed
--- response_body_unlike: evil

=== where another module has let the request in
--- http_config
    upstream registry { server 127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
--- config eval
Harness::gate_config('satisfy any; allow all;')
--- backend
app/manifests => raw: HTTP/1.1 100 X\r\n\r\n\
  HTTP/1.1 200 OK\r\nX-Docker-Endpoints: evil.example\r\n\r\n
app/tags => raw: HTTP/0.9 200 OK\r\nX-Docker-Endpoints: evil.example\r\n\r\n
--- request eval
[ "GET /v2/alice/app/manifests/latest", "GET /v2/alice/app/tags/list" ]
--- error_code: 502
--- oci_error: UNKNOWN malformed
--- response_body_unlike: evil

=== in a location that is not gated, to which a request is moved that came by the gate
--- config eval
Harness::gate_config('proxy_intercept_errors on; error_page 404 = @moved;')
. 'location @moved { registry_auth off; rewrite ^ /moved$uri break; proxy_pass http://registry; }'
--- login: alice:secret
--- backend
^GET /v2/ => status: 404
moved.*manifests => raw: HTTP/1.1 100 X\r\n\r\n\
  HTTP/1.1 200 OK\r\nX-Docker-Endpoints: evil.example\r\n\r\n
moved.*tags => raw: HTTP/0.9 200 OK\r\nX-Docker-Endpoints: evil.example\r\n\r\n
--- request eval
[ "GET /v2/alice/app/manifests/latest", "GET /v2/alice/app/tags/list" ]
--- error_code: 502
--- response_body_unlike: evil

=== the client's connection goes on
--- login: alice:secret
--- backend
app/manifests => raw: HTTP/0.9 200 OK\r\nX-Docker-Endpoints: evil.example\r\n\r\n
app/blobs => raw: HTTP/1.1 100 X\r\n\r\n\
  HTTP/1.1 200 OK\r\nX-Docker-Endpoints: evil.example\r\n\r\n
--- pipelined_requests eval
[ "GET /v2/alice/app/manifests/latest", "GET /v2/alice/app/tags/list",
  "GET /v2/alice/app/blobs/sha256:" . "ab" x 32, "GET /v2/alice/app/tags/list" ]
--- error_code eval
[ 502, 200, 502, 200 ]

=== what the log's variables say of it
--- http_config eval
Harness::gate_http()
    . 'log_format of_gate "result=$registry_auth_result status=$status protocol=$server_protocol";'
--- config eval
Harness::gate_config('access_log logs/access.log of_gate;')
--- login: alice:secret
--- backend
raw: HTTP/0.9 200 OK\r\nX-Docker-Endpoints: evil.example\r\n\r\n
--- request
GET /v2/alice/app/manifests/latest
--- error_code: 502
--- access_log
result=unavailable status=502 protocol=HTTP/1.1

=== an upgrade opens no tunnel past the gate, though the client wants it and the configuration passes it on
--- config eval
Harness::gate_config('proxy_set_header Upgrade $http_upgrade;') =~ s/Connection ""/Connection "upgrade"/r
--- login: alice:secret
--- more_headers
Upgrade: x
Connection: upgrade
--- backend
raw: HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n\
  HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ntunnel
--- request
GET /v2/alice/app/manifests/latest
--- error_code: 502
--- oci_error: UNKNOWN malformed
--- response_body_unlike: tunnel

=== over HTTP/2 none can be wanted
--- http2
--- login: alice:secret
--- more_headers
Upgrade: x
--- backend
raw: HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n\
  HTTP/1.1 200 OK\r\nX-Docker-Endpoints: evil.example\r\n\r\n
--- request
GET /v2/alice/app/manifests/latest
--- error_code: 502
--- oci_error: UNKNOWN malformed
--- response_body_unlike: evil

=== where the gate is off, answers pass as they are
--- config eval
Harness::gate_config() =~ s{registry_auth "[^"]*";}{registry_auth off;}r
--- backend
raw: HTTP/0.9 200 OK\r\n\r\nhello
--- raw_request eval
"GET /v2/alice/app/manifests/latest HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
--- error_code: 200
--- response_body: hello

=== a reason phrase is the registry's own, a tab and other alphabets in it, too
--- login: alice:secret
--- backend
app/manifests => raw: HTTP/1.1 200 All \xc3\xa4\tright\r\nContent-Length: 2\r\n\r\n{}
app/tags => raw: HTTP/1.1 299 \r\nContent-Length: 2\r\n\r\n{}
--- request eval
[ "GET /v2/alice/app/manifests/latest", "GET /v2/alice/app/tags/list" ]
--- error_code eval
[ 200, 299 ]
--- raw_response_headers_like eval
[ qr/^HTTP\/1.1 200 All \xc3\xa4\tright\r\n/, qr/^HTTP\/1.1 299/ ]

=== rule 43: what a browser could take for a page of this host runs no script, whatever its type is
--- login: alice:secret
--- backend
app/manifests/page => header: Content-Type: text/html
app/manifests/picture => header: Content-Type: image/svg+xml
app/manifests/guess => raw: HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n<script>
app/manifests/trick => header: Content-Type: application/vnd.oci.image.manifest.v1+xml; a=+json
app/blobs => raw: HTTP/1.1 404 N\r\nContent-Type: text/html\r\nContent-Length: 1\r\n\r\nx
--- request eval
[ (map {"GET /v2/alice/app/manifests/$_"} qw(page picture guess trick)),
  "GET /v2/alice/app/blobs/sha256:" . "0" x 64 ]
--- error_code eval
[ (200) x 4, 404 ]
--- raw_response_headers_like eval
[ (qr/^X-Content-Type-Options: nosniff\r\nContent-Security-Policy: default-src 'none'; sandbox\r?$/m) x 5 ]

=== rule 43: also where an address lets the request in before the gate is asked
--- config eval
'registry_auth "Registry"; location / { satisfy any; allow all; '
    . 'proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT; }'
--- backend
header: Content-Type: text/html
--- request
GET /v2/alice/app/manifests/page
--- error_code: 200
--- raw_response_headers_like: Content-Security-Policy: default-src 'none'; sandbox

=== rule 43: what registries send has no header more
--- login: alice:secret
--- backend
app/manifests/1 => header: Content-Type: application/vnd.oci.image.manifest.v1+json
app/manifests/2 => header: Content-Type: application/vnd.docker.distribution.manifest.v2+json
app/tags => header: Content-Type: application/json; charset=utf-8
app/blobs => header: Content-Type: application/octet-stream
app/manifests/same => raw: HTTP/1.1 304 N\r\n\r\n
--- request eval
[ "GET /v2/alice/app/manifests/1", "GET /v2/alice/app/manifests/2", "GET /v2/alice/app/tags/list",
  "GET /v2/alice/app/blobs/sha256:" . "0" x 64, "GET /v2/alice/app/manifests/same" ]
--- error_code eval
[ (200) x 4, 304 ]
--- raw_response_headers_unlike: Content-Security-Policy

=== rule 43: nor has a page where the gate is off
--- config eval
Harness::gate_config() =~ s{registry_auth "[^"]*";}{registry_auth off;}r
--- backend
header: Content-Type: text/html
--- request
GET /v2/page.html
--- error_code: 200
--- raw_response_headers_unlike: Content-Security-Policy
