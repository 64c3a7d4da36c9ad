# A V1 backend does not lead its clients away. docker sends
# the password to whatever host X-Docker-Endpoints names, and believes that
# header wherever a redirect has led it.
use strict;
use warnings;
use lib 't/lib';
use Harness;

our @REPOSITORY = (
    "PUT /v1/repositories/alice/app/\n[]", 'GET /v1/repositories/alice/app/images',
    'GET /v1/repositories/alice/app/tags',
    'GET /v1/users/', 'GET /v1/_ping', 'GET /_ping', 'DELETE /v1/repositories/alice/app/',
);

# Each names another host than this server, http://localhost.
our @ELSEWHERE = (
    'http://evil.example/v1/', 'https://evil.example/v1/', '//evil.example/v1/', '///evil.example/',
    '/\\evil.example/',
    '\\\\evil.example\\', 'https:evil.example/', 'https:///evil.example/', 'ftp://localhost/',
    'javascript:alert(1)',
    'http://localhost@evil.example/', 'http://localhost:80@evil.example/', 'http://localhost.evil.example/',
    'http://localhost:8080/v1/', 'http://localhost\\@evil.example/', 'evil.example/v1/', '../v1/', '?a=b',
    'http://localhost',
    'http://localhost//evil.example/', "/\t/evil.example/", 'http://',
);

my $spec = '';
for my $request (@REPOSITORY) {
    my ($title) = split /\n/, $request;
    $spec .= spec_block(
        "X-Docker-Endpoints of the backend becomes this server: $title",
        request          => [$request],
        login            => 'alice:secret',
        backend          =>
            "header: X-Docker-Endpoints: evil.example, worse.example:5000\n"
                . "header: x-docker-endpoints: evil.example\n",
        response_headers => "X-Docker-Endpoints: localhost\n",
    );
    $spec .= spec_block(
        "a redirect to another host is 502: $title",
        request          => [ ($request) x 5 ],
        login            => 'alice:secret',
        backend          =>
            "status: 302\nheader: Location: http://evil.example/v1/\n"
                . "header: X-Docker-Endpoints: evil.example\n"
            . "header: Content-Encoding: gzip\nheader: Set-Cookie: a=b\nheader: ETag: \"x\"\n",
        error_code       => 502,
        oci_error        => 'UNKNOWN another host',
        response_headers => join('', map {"!$_\n"} qw(Location X-Docker-Endpoints Content-Encoding Set-Cookie
            ETag)),
        # Of more than ten a second, their number.
        error_log        => "registry_auth: the registry redirects a V1 request to another host: \n",
        raw_response_headers_unlike => 'evil',
        response_body_unlike        => 'evil',
    );
}
for my $location (@ELSEWHERE) {
    $spec .= spec_block(
        "a redirect that is not surely one to this server is 502: $location",
        request    => [ map {$_} @REPOSITORY[0, 1] ],
        login      => 'alice:secret',
        backend    => "status: 307\nheader: Location: $location\n",
        error_code => 502,
        response_headers => "!Location\n",
    );
}
for my $status (300, 301, 302, 303, 307, 308) {
    $spec .= spec_block(
        "whatever the redirect: $status",
        request    => [ 'GET /v1/repositories/alice/app/images', 'HEAD /v1/_ping',
            'GET /v1/repositories/alice/app/tags' ],
        login      => 'alice:secret',
        backend    => "status: $status\nheader: Location: https://evil.example/\n",
        error_code => 502,
        response_headers => "!Location\n",
    );
}

defaults(
    http_config => gate_http(),
    config      => gate_config(),
    accounts    => "alice:secret\n",
);
run_tests($spec . join '', <DATA>);

__DATA__
=== without X-Docker-Endpoints none is made up
--- login: alice:secret
--- request
GET /v1/repositories/alice/app/images
--- response_headers
!X-Docker-Endpoints

=== the host is the one that the client has written
--- login: alice:secret
--- backend
header: X-Docker-Endpoints: evil.example
--- more_headers
Host: Registry.Example:8443
--- request
GET /v1/repositories/alice/app/images
--- response_headers
X-Docker-Endpoints: Registry.Example:8443

=== registry_auth_v1_endpoint: the host is the one that is configured, with variables
--- http_config eval
Harness::gate_http()
    . 'map $http_x_forwarded_host $registry_host { default $http_host; ~. $http_x_forwarded_host; }' . "\n"
--- config eval
Harness::gate_config('registry_auth_v1_endpoint $registry_host:443;')
--- login: alice:secret
--- backend
header: X-Docker-Endpoints: evil.example
images$ => status: 302
images$ => header: Location: http://registry.example:443/v1/x
--- more_headers eval
[ undef, ("X-Forwarded-Host: registry.example") x 2 ]
--- request eval
[ ("GET /v1/repositories/alice/app/tags") x 2, "GET /v1/repositories/alice/app/images" ]
--- error_code eval
[ 200, 200, 302 ]
--- response_headers eval
[ "X-Docker-Endpoints: localhost:443", "X-Docker-Endpoints: registry.example:443",
  "Location: /v1/x\nX-Docker-Endpoints: registry.example:443" ]

=== a redirect to this server goes on as a path: neither host nor scheme changes
--- login: alice:secret
--- backend
status: 301
tags$ => header: Location: http://localhost/v1/users/?a=b
images$ => header: Location: https://LOCALHOST/v1/users/
json$ => header: Location: /v1/users/
--- request eval
[ map { "GET /v1/repositories/alice/app/$_" } qw(tags images json) ]
--- error_code: 301
--- response_headers eval
[ "Location: /v1/users/?a=b", ("Location: /v1/users/") x 2 ]

=== a redirect without a Location goes on
--- login: alice:secret
--- backend
status: 304
--- request
GET /v1/repositories/alice/app/tags
--- error_code: 304

=== of two Locations the worse one counts, or the one that nginx takes: from 1.23 on it drops the second
--- login: alice:secret
--- backend
status: 302
tags$ => header: Location: /v1/users/
tags$ => header: Location: http://evil.example/
images$ => header: Location: http://evil.example/
images$ => header: Location: /v1/users/
--- request eval
[ map { "GET /v1/repositories/alice/app/$_" } qw(tags images) ]
--- error_code_like eval
[ qr/^(?:302|502)$/, qr/^502$/ ]
--- raw_response_headers_unlike: evil

=== a layer may be fetched elsewhere, as from a storage service; nothing may be sent there
--- config eval
Harness::gate_config('registry_auth_redirects storage.example;')
--- login: alice:secret
--- backend
status: 302
header: Location: https://storage.example/layer?signature=x
header: X-Docker-Endpoints: evil.example
--- request eval
[ "GET /v1/images/0123abcd/layer", "HEAD /v1/images/0123abcd/json", "PUT /v1/images/0123abcd/layer\nx",
  "PUT /v1/images/0123abcd/json\n{}" ]
--- error_code eval
[ 302, 302, 502, 502 ]
--- response_headers eval
[ ("Location: https://storage.example/layer?signature=x\nX-Docker-Endpoints: localhost") x 2,
  ("!Location\n!X-Docker-Endpoints") x 2 ]

=== without registry_auth_redirects not from a user's registry, which could ask for a password there
--- login: alice:secret
--- backend
status: 302
header: Location: https://storage.example/layer?signature=x
--- request
GET /v1/images/0123abcd/layer
--- error_code: 502
--- error_log
the registry redirects a blob to storage.example

=== V2 has no endpoints, and its blobs may lie elsewhere; its uploads go on here
--- config eval
Harness::gate_config('registry_auth_redirects storage.example;')
--- login: alice:secret
--- backend
status: 202
POST => header: Location: http://localhost/v2/alice/app/blobs/uploads/1
header: X-Docker-Endpoints: a.example
GET => status: 307
GET => header: Location: https://storage.example/blob
--- request eval
[ "POST /v2/alice/app/blobs/uploads/", "GET /v2/alice/app/blobs/sha256:" . "ab" x 32 ]
--- error_code eval
[ 202, 307 ]
--- response_headers eval
[ "X-Docker-Endpoints: a.example\nLocation: /v2/alice/app/blobs/uploads/1",
  "X-Docker-Endpoints: a.example\nLocation: https://storage.example/blob" ]

=== an upload goes on at this server, whatever host its registry names: some clients send the password there
--- login: alice:secret
--- backend
status: 202
uploads/1 => header: Location: https://evil.example:5000/v2/alice/app/blobs/uploads/1?_state=a%2Fb
uploads/2 => header: Location: http://localhost/v2/alice/app/blobs/uploads/2
uploads/3 => header: Location: /v2/alice/app/blobs/uploads/3
uploads/4 => header: Location: https://localhost/v2/alice/app/blobs/uploads/4
manifests => header: Location: https://evil.example/v2/alice/app/manifests/v1
--- request eval
[ (map {"PATCH /v2/alice/app/blobs/uploads/$_"} 1 .. 4), "PUT /v2/alice/app/manifests/v1" ]
--- error_code: 202
--- response_headers eval
[ map {"Location: $_"} "/v2/alice/app/blobs/uploads/1?_state=a%2Fb", "/v2/alice/app/blobs/uploads/2",
  "/v2/alice/app/blobs/uploads/3",
  "https://localhost/v2/alice/app/blobs/uploads/4", "/v2/alice/app/manifests/v1" ]

=== one that leads to no path of the API is 502, and the log says so; also the state of an upload
--- login: alice:secret
--- backend
status: 204
header: Location: //evil.example/v2/alice/app/blobs/uploads/1
--- request eval
[ "PATCH /v2/alice/app/blobs/uploads/1", "GET /v2/alice/app/blobs/uploads/1" ]
--- error_code: 502
--- response_headers
!Location
--- error_log
the registry leads an upload away from this server: "//evil.example/v2/alice/app/blobs/uploads/1"

=== also where another module has let the request in
--- http_config
    upstream registry { server 127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
--- config eval
Harness::gate_config('satisfy any; allow all;')
--- backend
header: X-Docker-Endpoints: evil.example
images$ => status: 302
images$ => header: Location: http://evil.example/
--- request eval
[ "GET /v1/repositories/alice/app/tags", "GET /v1/repositories/alice/app/images" ]
--- error_code eval
[ 200, 502 ]
--- response_headers eval
[ "X-Docker-Endpoints: localhost", "!Location" ]

=== where the gate is off, answers pass as they are
--- config eval
Harness::gate_config() =~ s{registry_auth "[^"]*";}{registry_auth off;}r
--- backend
header: X-Docker-Endpoints: elsewhere.example
--- request
GET /v1/repositories/alice/app/tags
--- response_headers
X-Docker-Endpoints: elsewhere.example

=== a redirect to another host with a long body: the connections go on
--- http_config
    upstream registry { registry_auth_backends; keepalive 8; server 127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
--- login: alice:secret
--- backend eval
"tags\$ => status: 302\ntags\$ => header: Location: http://evil.example/\ntags\$ => body: " . 'x' x 300_000
    . "\n"
--- request eval
[ ("GET /v1/repositories/alice/app/tags", "GET /v1/repositories/alice/app/images") x 3 ]
--- error_code eval
[ (502, 200) x 3 ]
--- response_body_unlike: xxx

=== nginx's own pointer to a Location that was taken back prints none: HTTP/1
--- config eval
Harness::gate_config('server_tokens off; proxy_pass_header Server; proxy_pass_header Date;')
--- login: alice:secret
--- backend
status: 302
header: Server: evil
header: Date: evil
images$ => header: Location: http://registry/v1/x
tags$ => header: Location: http://registry//evil.example/
--- request eval
[ "GET /v1/repositories/alice/app/images", "GET /v1/repositories/alice/app/tags" ]
--- error_code eval
[ 302, 502 ]
--- response_headers eval
[ "Location: /v1/x", "!Location\nServer: nginx" ]
--- raw_response_headers_unlike eval
[ undef, qr/evil/ ]

=== HTTP/2
--- config eval
Harness::gate_config('proxy_redirect off;')
--- http2
--- login: alice:secret
--- backend
status: 302
images$ => header: Location: http://localhost/v1/x
tags$ => header: Location: http://evil.example/
--- request eval
[ "GET /v1/repositories/alice/app/images", "GET /v1/repositories/alice/app/tags" ]
--- error_code eval
[ 302, 502 ]
--- response_headers eval
[ "Location: /v1/x", "!Location" ]
--- raw_response_headers_unlike: evil
