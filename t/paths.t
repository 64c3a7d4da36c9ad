# Rule 1: path confusion. A path is refused, or the repository that
# was decided about is the one that the backend reads off the request line.
use strict;
use warnings;
use lib 't/lib';
use Harness;

my $D = 'sha256:' . 'ab' x 32;

# rule => paths, as the bytes that are sent; each must be refused
my @REFUSED = (
    'dot segments are refused, not resolved' => [
        '/v2/alice/../bob/x/tags/list',   '/v2/./alice/x/tags/list',      '/v2/alice/./x/tags/list',
        '/v2/alice/x/tags/../tags/list',  '/v2/bob/../alice/x/tags/list', '/v2/alice/x/tags/list/.',
        '/v2/alice/x/tags/list/..',       '/v2/alice/x/manifests/..',     '/v2/alice/x/manifests/.',
        '/../v2/alice/x/tags/list',       '/v2/alice/x/blobs/uploads/../../../../bob/x/tags/list',
        '/x/../v2/alice/x/tags/list',     '/v2/..',                       '/v2/.',
    ],
    'an escaped slash is refused' => [
        '/v2/alice%2f..%2fbob/x/tags/list', '/v2/alice%2fx/tags/list', '/v2/alice%2Fx/tags/list',
        '/v2/alice/x%2ftags/list',          '/v2%2falice/x/tags/list', '%2fv2/alice/x/tags/list',
    ],
    'an escaped dot is refused' => [
        '/v2/alice/%2e%2e/bob/x/tags/list', '/v2/alice/%2E%2E/bob/x/tags/list',
        '/v2/alice/.%2e/bob/x/tags/list',
        '/v2/alice/x%2ey/tags/list',        '/v2/alice/x/manifests/v1%2e0',
    ],
    'any other escape is refused, of plain letters too' => [
        '/v2/%61lice/x/tags/list',   '/v2/alice/x/tags/%6cist',    '/v%32/alice/x/tags/list',
        '/v2/alice/x%20/tags/list',
        '/v2/alice/x/tags/list%20',  '/v2/alice/x/tags/list%3fa',  '/v2/alice%3ax/tags/list',
        '/v2/alice/x%0d%0a/tags/list',
        '/v2/alice/x/tags/list%23a', '/v2/alice/%c0%ae%c0%ae/bob/tags/list', '/v2/alice/x%3btags/list',
    ],
    'a double escape is refused' => [
        '/v2/a%252fb/x/tags/list', '/v2/alice%252f..%252fbob/x/tags/list',
        '/v2/alice/%252e%252e/bob/x/tags/list',
        '/v2/alice/x/blobs/sha256%253A' . 'ab' x 32,
    ],
    'a doubled slash is refused' => [
        '/v2//alice/x/tags/list', '/v2/alice//x/tags/list', '//v2/alice/x/tags/list',
        '/v2/alice/x//tags/list',
        '/v2/alice/x/tags//list', '//bob/v2/alice/x/tags/list', '/v2//',
    ],
    'a semicolon, a backslash and other bytes are in no name' => [
        '/v2/alice;/x/tags/list', '/v2/alice/x;a=b/tags/list', '/v2/alice\\..\\bob/x/tags/list',
        '/v2/alice\\x/tags/list',
        '/v2/alice/x+y/tags/list', '/v2/alice/x@y/tags/list', '/v2/alice/x:y/tags/list',
        '/v2/alice/x~/tags/list',
        '/v2/alice/x,y/tags/list', '/v2/alice/*/tags/list', '/v2/alice/x&y/tags/list',
        "/v2/alice/x'/tags/list",
    ],
    'bytes beyond ASCII are in no name' =>
        [ "/v2/alice/\xc3\xa9/tags/list", "/v2/alice/\xff/tags/list", "/v2/alice/x/tags/list\xa0" ],
    'capital letters are in no name' =>
        [ '/v2/Alice/x/tags/list', '/v2/alice/X/tags/list', '/v2/ALICE/x/tags/list' ],
    'capital letters are in no route' =>
        [ '/V2/alice/x/tags/list', '/v2/alice/x/TAGS/list', '/v2/alice/x/tags/List', '/V2/' ],
    'a trailing dot, dash, underscore is in no name' => [
        map {"/v2/alice/$_/tags/list"} qw(x. .x x- -x x_ _x x..y x___y x.-y x-.y x._y .) ],
    'a trailing slash makes another path' => [
        '/v2/alice/x/tags/list/', '/v2/alice/x/manifests/v1/', "/v2/alice/x/blobs/$D/",
        '/v2/alice/x/tags/list//',
    ],
    'a fragment is refused' => [ '/v2/alice/x/tags/list#a', '/v2/alice/x/tags#/list',
        '/v2/alice/x/tags/list#?a' ],
    'a name is at most 255 bytes' =>
        [ '/v2/alice/' . 'a' x 250 . '/tags/list', '/v2/alice' . '/a' x 126 . '/tags/list' ],
    'a tag is at most 128 bytes, of its own alphabet' => [
        '/v2/alice/x/manifests/' . 'a' x 129, '/v2/alice/x/manifests/-a', '/v2/alice/x/manifests/.a',
        '/v2/alice/x/manifests/a+b',          '/v2/alice/x/manifests/',
    ],
    'a digest is algorithm:hex' => [
        "/v2/alice/x/blobs/" . 'ab' x 32, '/v2/alice/x/blobs/sha256:', '/v2/alice/x/blobs/:abcd',
        '/v2/alice/x/blobs/SHA256:' . 'ab' x 32,
        '/v2/alice/x/blobs/sha256:ab:cd', '/v2/alice/x/blobs/', '/v2/alice/x/blobs',
    ],
    'an upload id has an alphabet of its own' =>
        [ '/v2/alice/x/blobs/uploads/a+b', '/v2/alice/x/blobs/uploads/a,b', '/v2/alice/x/blobs/uploads/a:b' ],
    'V1 paths are held to the same' => [
        '/v1/repositories/alice/../bob/x/images', '/v1/repositories/alice%2fx/images',
        '/v1/repositories//alice/x/images',
        '/v1/repositories/Alice/x/images',        '/v1/images/../repositories/bob/x/images',
        '/v1/images/abc%2fjson', '/v1/images/a/b/json',
        '/v1/./_ping',                            '/v1//_ping', '/%5fping', '/v1/_ping/',
        '/_ping/../v2/bob/x/tags/list',
        '/v1/_ping/../repositories/bob/x/images',
    ],
);

my $spec = '';
for my $config ([ 'merge_slashes on', '' ], [ 'merge_slashes off', 'merge_slashes off;' ]) {
    my ($how, $directive) = @$config;
    my @rule = @REFUSED;
    while (my ($rule, $paths) = splice @rule, 0, 2) {
        $spec .= spec_block(
            "rule 1, $how: $rule",
            config => gate_config() . ($directive ? "        $directive\n" : ''),
            request         => [ map {"GET $_"} @$paths ],
            login           => 'alice:secret',
            error_code_like => '^40[04]$',
            forwarded       => 0,
        );
    }
}

defaults(
    http_config => gate_http(),
    config      => gate_config(),
    accounts    => "alice:secret\nbob:secret\n",
    login       => 'alice:secret',
);
run_tests($spec . join '', <DATA>);

__DATA__
=== rule 1: a path that is not canonical is 400 NAME_INVALID
--- request eval
[ "GET /v2/alice/../bob/x/tags/list", "GET /v2/alice%2fx/tags/list", "GET /v2//alice/x/tags/list",
  "PUT /v2/Alice/x/manifests/v1" ]
--- error_code: 400
--- oci_error: NAME_INVALID
--- response_headers
Docker-Distribution-Api-Version: registry/2.0
!WWW-Authenticate

=== a canonical path with an illegal name or reference is 404 for who has logged in, as registries answer it
--- request eval
[ "GET /v2/Alice/x/tags/list", "HEAD /v2/Alice/x/manifests/v1", "GET /v2/alice/x/manifests/.v1",
  "GET /v2/alice/x/blobs/v1" ]
--- error_code: 404
--- forwarded: 0

=== its code names what is unknown
--- request eval
[ "GET /v2/Alice/x/tags/list", "GET /v2/alice/x/manifests/.v1", "GET /v2/alice/x/blobs/v1" ]
--- error_code: 404
--- oci_error eval
[ "NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN" ]

=== whoever has not logged in is asked to, before that
--- login:
--- request eval
[ "GET /v2/Alice/x/tags/list", "GET /v2/alice/x/manifests/.v1", "GET /v2/alice/x/blobs/v1" ]
--- error_code: 401
--- oci_error: UNAUTHORIZED

=== rule 1: also without credentials
--- login:
--- request
GET /v2/alice/../bob/x/tags/list
--- error_code: 400
--- oci_error: NAME_INVALID
--- response_headers
!WWW-Authenticate

=== what is no registry route is 404 UNSUPPORTED
--- request eval
[ "GET /v2/alice/x/nothing", "FOO /v2/", "GET /v3/" ]
--- error_code: 404
--- oci_error: UNSUPPORTED

=== rule 1: a NUL byte is refused, escaped or raw
--- raw_request eval
[ map { my $path = $_;
  "GET $path HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\n"
      . "\r\n" }
  "/v2/alice/x%00/tags/list" ]
--- error_code: 400
--- backend_not_received

=== rule 1: a raw NUL byte
--- raw_request eval
"GET /v2/alice/x\0/tags/list HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    . "Authorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n"
--- error_code: 400
--- backend_not_received

=== rule 1: a raw space
--- raw_request eval
"GET /v2/alice/x /tags/list HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    . "Authorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n"
--- error_code: 400
--- backend_not_received

=== %3A for ':' in a digest is the one escape let through, and goes on as it came
--- request eval
my $h = 'ab' x 32;
[ "GET /v2/alice/x/blobs/sha256%3A$h", "GET /v2/alice/x/blobs/sha256%3a$h",
  "PUT /v2/alice/x/manifests/sha256%3A$h?tag=a%2Fb",
  "GET /v2/alice/x/referrers/sha256%3A$h" ]
--- forwarded: 1

=== %3A in a digest of somebody else's is his
--- request eval
"GET /v2/bob/x/blobs/sha256%3A" . 'ab' x 32
--- error_code: 403
--- forwarded: 0

=== an absolute-form URI is decided on and forwarded as its path
--- request eval
[ "GET http://localhost/v2/alice/x/tags/list?n=1", "GET http://localhost/v2/bob/x/tags/list",
  "GET http://localhost/v2/alice/../bob/x/tags/list",
  "GET http://localhost/v2/alice%2fx/tags/list", "GET http://bob/v2/alice/x/tags/list" ]
--- error_code eval
[ 200, 403, 400, 400, 200 ]
--- forwarded eval
[ "GET /v2/alice/x/tags/list?n=1", 0, 0, 0, "GET /v2/alice/x/tags/list" ]

=== the query is forwarded byte for byte and decides nothing
--- request eval
[ "GET /v2/alice/x/tags/list?", "GET /v2/alice/x/tags/list?n=../../bob&a=%2f%zz;&&=",
  "PATCH /v2/alice/x/blobs/uploads/id?_state=a%2Bb+c%20d=/%2F",
  "GET /v2/alice/x/tags/list?x?y#z", "GET /v2/?/../v2/bob" ]
--- forwarded eval
[ "GET /v2/alice/x/tags/list?", "GET /v2/alice/x/tags/list?n=../../bob&a=%2f%zz;&&=",
  "PATCH /v2/alice/x/blobs/uploads/id?_state=a%2Bb+c%20d=/%2F",
  undef, "GET /v2/?/../v2/bob" ]

=== all that a name may be
--- request eval
[ map { "GET /v2/alice/$_/tags/list"
  } qw(a 0 a.b a_b a__b a-b a--b a-----b a/b/c/d/e 1.2-3_4__5 tags/list/a blobs/uploads/a), 'a' x 249 ]
--- forwarded: 1

=== all that a tag, a digest and an upload id may be
--- request eval
my $h = 'ab' x 32;
[ ( map { "GET /v2/alice/x/manifests/$_" } 'a', 'A', '_', '0', 'v1.0-rc_1', 'a' x 128, "sha512:$h$h",
  "sha256+b64u:$h" ),
  ( map { "PATCH /v2/alice/x/blobs/uploads/$_" } '0f8fad5b-d9cd-469f-a165-70867728950e', 'a=b_c.d-E' ) ]
--- forwarded: 1

=== a rewritten URI is decided on as it will be forwarded
--- config
        rewrite ^/mirror/(.*)$ /v2/$1 last;
        location / {
            registry_auth "Registry";
            proxy_pass http://registry;
        }
--- request eval
[ "GET /mirror/alice/x/tags/list", "GET /mirror/bob/x/tags/list", "GET /mirror/alice%2fx/tags/list",
  "GET /mirror/alice/../../v2/bob/x/tags/list",
  "GET /mirror/alice/x%23/tags/list" ]
--- error_code eval
[ 200, 403, undef, 403, undef ]
--- error_code_like eval
[ qr/200/, qr/403/, qr/200|400/, qr/400|403/, qr/40[04]/ ]
--- forwarded eval
[ "GET /v2/alice/x/tags/list", 0, undef, 0, 0 ]
