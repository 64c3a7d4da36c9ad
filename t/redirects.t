# Where a V2 registry may redirect its readers. The host of a redirect may ask for a password by a challenge
# of its own, which containerd then posts to the address in it; Go's clients send theirs unasked to another
# port of this host. So a redirect stays here; a blob's may lead to a storage service: to those of
# registry_auth_redirects, or, of a registry that nginx.conf names, to any where nothing is said.
use strict;
use warnings;
use lib 't/lib';
use Harness;

our $BLOB    = '/v2/alice/app/blobs/sha256:' . 'ab' x 32;
our $FIXED   = 'upstream registry { server 127.0.0.1:$TEST_NGINX_BACKEND_PORT; }';
our $STORAGE = 'https://storage.example/blob?signature=x';
my @READ = ('/v2/', '/v2/alice/app/manifests/v1', '/v2/alice/app/tags/list',
    '/v2/alice/app/referrers/sha256:' . 'ab' x 32);

# Each names another host than this server, http://localhost, or may do so to some client.
my @ELSEWHERE = (
    'http://evil.example/v2/', 'https://evil.example/', '//evil.example/v2/', '/\\evil.example/',
    'https:evil.example/', 'http://localhost:8080/v2/', 'https://registry.localhost/v2/',
    'http://localhost@evil.example/v2/', 'ftp://localhost/v2/', "/\t/evil.example/",
    'javascript:alert(1)', 'http://localhost//evil.example/',
);

my $spec = '';
for my $of (users => $FIXED) {
    my $config = $of eq 'users' ? Harness::gate_http() : $of;
    my $title  = $of eq 'users' ? "a user's registry" : 'a registry of nginx.conf';
    for my $path (@READ) {
        $spec .= spec_block(
            "31, 39: a redirect of what is no blob stays at this server: $title, $path",
            http_config => "$config\n",
            request     => [ "GET $path", "HEAD /v2/alice/app/manifests/v1" ],
            login       => 'alice:secret',
            backend     => "status: 307\nheader: Location: https://evil.example/v2/\n",
            error_code  => 502,
            oci_error   => [ 'UNKNOWN another host', undef ],
            error_log   => 'redirects what is no blob to another host',
            raw_response_headers_unlike => 'evil',
            response_body_unlike        => 'evil',
        );
    }
}
for my $location (@ELSEWHERE) {
    $spec .= spec_block(
        "31, 39: whatever is not surely this server is another: $location",
        request     => [ "GET $READ[1]", "GET $READ[2]", "GET $BLOB", "HEAD $BLOB" ],
        login       => 'alice:secret',
        backend     => "status: 307\nheader: Location: $location\n",
        error_code  => 502,
        response_headers => "!Location\n",
    );
}
for my $status (300, 301, 302, 303, 307, 308) {
    $spec .= spec_block(
        "31, 39: whatever the redirect: $status",
        request    => [ "GET $READ[1]", "GET $BLOB" ],
        login      => 'alice:secret',
        backend    => "status: $status\nheader: Location: https://evil.example/\n",
        error_code => 502,
        response_headers => "!Location\n",
    );
}
# Hosts that are named; a redirect; whether it goes on.
for (
    [ 'storage.example', 'https://storage.example/b?X-Amz-Signature=x', 1 ],
    [ 'storage.example', 'https://STORAGE.example:443/b',               1 ],
    [ 'storage.example', 'http://storage.example/b',                    1 ],
    [ 'storage.example', 'https://storage.example:8443/b',              0 ],
    [ 'storage.example', 'https://a.storage.example/b',                 0 ],
    [ 'storage.example', 'https://storage.example.evil.example/b',      0 ],
    [ 'storage.example', 'https://storage.example@evil.example/b',      0 ],
    [ 'storage.example', '//storage.example/b',                         0 ],
    [ 'storage.example:9000', 'https://storage.example:9000/b',         1 ],
    [ 'storage.example:9000', 'https://storage.example/b',              0 ],
    [ '*.storage.example', 'https://a.b.storage.example/b',             1 ],
    [ '*.storage.example', 'https://storage.example/b',                 0 ],
    [ '*.storage.example', 'https://evilstorage.example/b',             0 ],
    [ 'a.example [fd00::1]:9000 10.0.0.1', 'http://10.0.0.1/b',         1 ],
    [ 'a.example [fd00::1]:9000 10.0.0.1', 'http://[fd00::1]:9000/b',   1 ],
    [ 'off',               'https://storage.example/b',                 0 ],
) {
    my ($hosts, $location, $goes) = @$_;
    for my $of (users => $FIXED) {
        my $upstream = $of eq 'users' ? Harness::gate_http() : $of;
        $spec .= spec_block(
            "registry_auth_redirects $hosts: a blob may " . ($goes ? '' : 'not ') . "lie at $location, of "
                . ($of eq 'users' ? "a user's registry" : 'a registry of nginx.conf'),
            http_config => $upstream . "registry_auth_redirects $hosts;\n",
            request     => [ "GET $BLOB", "HEAD $BLOB" ],
            login       => 'alice:secret',
            backend     => "status: 307\nheader: Location: $location\n",
            error_code  => $goes ? 307 : 502,
            response_headers => $goes ? "Location: $location\n" : "!Location\n",
        );
    }
}
for my $wrong ('https://storage.example', 'storage.example/b', '*', '*.', 'a..b', '$host', 'On', 'off', 'a:0',
    'a:x', 'a:99999', '"a b"', '[fd00::1', 'a@b', '*.[fd00::1]') {
    $spec .= spec_block(
        "another value is an error of nginx -t: $wrong",
        no_redis    => '', must_die => '',
        http_config => "registry_auth_redirects storage.example $wrong;\n",
        config      => '',
        error_log   => 'invalid value "' . ($wrong =~ s/"//gr) . '" in "registry_auth_redirects" directive: '
            . 'hosts of storage services are expected',
    );
}

defaults(
    http_config => gate_http(),
    config      => gate_config(),
    accounts    => "alice:secret\n",
);
run_tests($spec . join '', <DATA>);

__DATA__
=== 39: a redirect to this server goes on as a path, so that neither host nor scheme changes
--- login: alice:secret
--- backend
status: 307
v1 => header: Location: http://localhost/v2/alice/app/manifests/v2?a=b
v3 => header: Location: https://LOCALHOST/v2/alice/app/manifests/v2
v4 => header: Location: /v2/alice/app/manifests/v2
v5 => header: Location: v2
blobs => header: Location: http://localhost/v2/alice/app/blobs/x
--- request eval
[ (map {"GET /v2/alice/app/manifests/v$_"} 1, 3, 4, 5), "GET $main::BLOB" ]
--- error_code: 307
--- response_headers eval
[ map {"Location: $_"} "/v2/alice/app/manifests/v2?a=b", ("/v2/alice/app/manifests/v2") x 2, "v2",
  "/v2/alice/app/blobs/x" ]

=== the blobs of a user's registry lie elsewhere only where the administrator says so, and the log says how
--- login: alice:secret
--- backend eval
"status: 307\nheader: Location: $main::STORAGE\n"
--- request eval
[ "GET $main::BLOB", "HEAD $main::BLOB" ]
--- error_code: 502
--- oci_error eval
[ 'UNKNOWN another host', undef ]
--- error_log
the registry redirects a blob to storage.example: if that is a storage service that you trust, name it
--- no_error_log
signature

=== those of a registry that nginx.conf names may lie anywhere
--- http_config eval: $main::FIXED
--- login: alice:secret
--- backend eval
"status: 307\nheader: Location: $main::STORAGE\n"
--- request eval
[ "GET $main::BLOB", "HEAD $main::BLOB" ]
--- error_code: 307
--- response_headers eval
"Location: $main::STORAGE"

=== 39: no client that has come by https is sent on to http, where its password would go in the clear
--- http_config eval
"$main::FIXED map '' \$registry_scheme { default https; }"
--- login: alice:secret
--- backend
status: 307
header: Location: http://storage.example/blob?signature=x
--- request eval
"GET $main::BLOB"
--- error_code: 502
--- error_log
the registry redirects a blob to http://storage.example, and the client has come by https
--- no_error_log
signature

=== also a layer of V1: docker takes a redirect from https to http for one of its own
--- http_config eval
"$main::FIXED map '' \$registry_scheme { default https; }"
--- login: alice:secret
--- backend
status: 302
json => header: Location: http://storage.example/layer
layer => header: Location: https://storage.example/layer
--- request eval
[ "GET /v1/images/0123abcd/json", "GET /v1/images/0123abcd/layer" ]
--- error_code eval
[ 502, 302 ]

=== an inner registry_auth_redirects wins
--- config eval
'registry_auth_redirects off;' . Harness::gate_config('registry_auth_redirects storage.example;')
--- login: alice:secret
--- backend eval
"status: 307\nheader: Location: $main::STORAGE\n"
--- request eval
"GET $main::BLOB"
--- error_code: 307

=== 39: the path counts that was decided about, not what rewrite has made of it
--- config eval
Harness::gate_config('rewrite ^/v2/(.*) /registry/$1 break;')
--- login: alice:secret
--- backend
status: 307
header: Location: https://evil.example/v2/
--- request eval
[ "GET /v2/alice/app/manifests/v1", "GET $main::BLOB" ]
--- error_code_like: ^(?:404|502)$
--- raw_response_headers_unlike: evil

=== 39: also where another module has let the request in
--- http_config eval: $main::FIXED
--- config eval
Harness::gate_config('satisfy any; allow all;')
--- backend
status: 307
header: Location: https://evil.example/v2/
--- request
GET /v2/alice/app/manifests/v1
--- error_code: 502
--- raw_response_headers_unlike: evil

=== 39: also in a location without a gate, to which a request is moved that came by one, at a user's registry
--- config eval
Harness::gate_config('proxy_intercept_errors on; error_page 404 = @moved;')
. 'location @moved { registry_auth off; rewrite ^ /moved$uri break; proxy_pass http://registry; }'
--- login: alice:secret
--- backend
^GET /v2/ => status: 404
moved => status: 307
moved => header: Location: https://evil.example/v2/
--- request eval
[ "GET /v2/alice/app/manifests/v1", "GET $main::BLOB" ]
--- error_code: 502
--- raw_response_headers_unlike: evil

=== where the gate is off, answers pass as they are
--- config eval
Harness::gate_config() =~ s{registry_auth "[^"]*";}{registry_auth off;}r
--- backend
status: 307
header: Location: https://evil.example/v2/
--- request
GET /v2/alice/app/manifests/v1
--- error_code: 307
--- response_headers
Location: https://evil.example/v2/

=== a Location that nobody follows is none of the gate's
--- login: alice:secret
--- backend
status: 200
header: Location: https://evil.example/v2/
--- request
GET /v2/alice/app/manifests/v1
--- error_code: 200

=== 39: the Location of an upload stays here whatever the status: clients go on there
--- login: alice:secret
--- backend
uploads/1 => status: 200
uploads/1 => header: Location: https://evil.example/v2/alice/app/blobs/uploads/1
uploads/2 => status: 200
uploads/2 => header: Location: //evil.example/v2/
uploads/3 => status: 416
uploads/3 => header: Location: //evil.example/v2/
--- request eval
[ map {"GET /v2/alice/app/blobs/uploads/$_"} 1 .. 3 ]
--- error_code eval
[ 200, 502, 502 ]
--- response_headers eval
[ "Location: /v2/alice/app/blobs/uploads/1", ("!Location") x 2 ]
