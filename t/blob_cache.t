# nginx's cache beside the gate, by $registry_auth_blob: one copy of a blob for all who may have it from the
# same registries, and for nobody else. How nginx -t judges keys is in t/conf.t; other keys, in t/kept.t.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Token;
use Harness::Zone;

our $A = 'sha256:' . 'a' x 64;
our $B = 'sha256:' . 'b' x 64;
our $NOTHING = 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
our ($TO_B, $TO_C) = map { '127.0.0.1:$TEST_NGINX_BACKEND_' . $_ . '_PORT' } qw(B C);
our $GATE = 'registry_auth R; proxy_set_header Authorization "";';
# As nginx/blob-cache.conf has it.
our $CACHE = 'proxy_cache c; proxy_cache_key $registry_auth_blob; proxy_cache_bypass $registry_auth_no_blob;
    proxy_no_cache $registry_auth_no_blob; proxy_cache_valid 200 1h; proxy_cache_convert_head off;
            proxy_ignore_headers Cache-Control;
    add_header X-Cache $upstream_cache_status always; add_header X-Source $registry_auth_source always;
            add_header X-Blob $registry_auth_blob always;';

# What a registry says of a blob, and of what it is.
sub named { join '', map { "$_ => header: Docker-Content-Digest: $_\n" } $A, $B }

defaults(
    http_config => "    proxy_cache_path \$TEST_NGINX_SERVROOT/kept keys_zone=c:1m;\n" . gate_http(),
    config   => "location / { $GATE $CACHE proxy_pass http://registry; }",
    accounts => "alice:secret\nbob:secret\nmallory:secret\n",
    login    => 'alice:secret',
    restart  => 1,
    backend  => named(),
    init     => 'main::empty()',
    redis    => join("\n",
        'HSET docker-registry:user:alice backends "127.0.0.1:$TEST_NGINX_BACKEND_B_PORT"',
        'HSET docker-registry:user:bob backends "127.0.0.1:$TEST_NGINX_BACKEND_B_PORT"',
        'HSET docker-registry:user:mallory backends "127.0.0.1:$TEST_NGINX_BACKEND_C_PORT"',
        'HSET docker-registry:group:public grant:library/** pull grant:shared/** pull') . "\n",
);

sub empty { system 'rm', '-rf', expand('$TEST_NGINX_SERVROOT/kept') }

run_tests();

__DATA__
=== a blob is asked once for all who have it from the same registry
--- request eval
[ ("GET /v2/library/x/blobs/$::A") x 4 ]
--- login eval
[ "alice:secret", "alice:secret", "bob:secret", "mallory:secret" ]
--- response_body_like eval
[ (qr/backend: B/) x 3, qr/backend: C/ ]
--- response_headers eval
[ "X-Cache: MISS\nX-Source: backend", ("X-Cache: HIT\nX-Source: cache") x 2,
        "X-Cache: MISS\nX-Source: backend" ]

=== and by nobody who may not pull it
--- request eval
[ "GET /v2/alice/x/blobs/$::A", ("GET /v2/alice/x/blobs/$::A") x 3 ]
--- login eval
[ "alice:secret", "bob:secret", "", "alice:secret" ]
--- error_code eval
[ 200, 403, 401, 200 ]
--- response_headers eval
[ "X-Cache: MISS", "!X-Cache", "!X-Cache", "X-Cache: HIT" ]

=== another repository, another digest: another copy
--- request eval
[ "GET /v2/library/x/blobs/$::A", "GET /v2/library/y/blobs/$::A", "GET /v2/library/x/blobs/$::B",
        "GET /v2/library/x/manifests/$::A" ]
--- response_headers: X-Cache: MISS

=== the order of backends makes no difference
--- redis eval
"HSET docker-registry:group:public grant:library/** pull
HSET docker-registry:user:alice backends \"$::TO_B $::TO_C\"
HSET docker-registry:user:bob backends \"$::TO_C $::TO_B\"
HSET docker-registry:user:mallory backends $::TO_C
"
--- request eval
[ ("GET /v2/library/x/blobs/$::A") x 3 ]
--- login eval
[ "alice:secret", "bob:secret", "mallory:secret" ]
--- response_headers eval
[ "X-Cache: MISS", "X-Cache: HIT", "X-Cache: MISS" ]

=== what names no content goes to the registry each time: tags, lists, HEAD, a query
--- request eval
[ map { ($_) x 2 } "GET /v2/library/x/manifests/latest", "GET /v2/library/x/tags/list",
        "HEAD /v2/library/x/blobs/$::A", "GET /v2/library/x/blobs/$::A?a=b", "GET /v2/" ]
--- response_headers
X-Cache: BYPASS
X-Source: backend
!X-Blob
--- forwarded: 1

=== a HEAD stays one
--- request eval
"HEAD /v2/library/x/blobs/$::A"
--- forwarded eval
"HEAD /v2/library/x/blobs/$::A"

=== a manifest by digest: one copy for each that is accepted
--- request eval
[ ("GET /v2/library/x/manifests/$::A") x 3 ]
--- more_headers eval
[ "Accept: application/a", "Accept: application/b", "Accept: application/a" ]
--- response_headers eval
[ "X-Cache: MISS", "X-Cache: MISS", "X-Cache: HIT" ]

=== only what was found is kept
--- backend
status: 404
--- request eval
[ ("GET /v2/library/x/blobs/$::A") x 2 ]
--- error_code: 404
--- response_headers
X-Cache: MISS

=== ranges come out of the whole copy
--- backend eval
main::named() . "body: 0123456789
header: Accept-Ranges: bytes
"
--- request eval
[ ("GET /v2/library/x/blobs/$::A") x 3 ]
--- more_headers eval
[ "Range: bytes=2-4", "Range: bytes=-2", "" ]
--- error_code eval
[ 206, 206, 200 ]
--- response_body eval
[ "234", "89", "0123456789" ]
--- response_headers eval
[ "X-Cache: MISS", "X-Cache: HIT", "X-Cache: HIT" ]

=== a key that is empty where nothing is said of that: nothing is kept
--- config eval
"location / { $::GATE proxy_cache c; proxy_cache_key \$registry_auth_blob; proxy_cache_valid any 1h;
        add_header X-Cache \$upstream_cache_status always; proxy_pass http://registry; }"
--- request eval
[ "GET /v2/library/x/manifests/latest", "GET /v2/library/y/manifests/latest",
        "GET /v2/library/x/blobs/$::A", "GET /v2/library/x/blobs/$::A" ]
--- response_headers eval
[ map { "X-Cache: $_" } qw(MISS MISS MISS HIT) ]
--- response_body_like: backend: B

=== what others have kept by an empty key is not passed on
--- config eval
"location / { $::GATE proxy_cache c; proxy_cache_key \$registry_auth_blob; proxy_cache_valid any 1h;
        proxy_pass http://registry; }
        location /open/ {
                registry_auth off; proxy_cache c; proxy_cache_key \$arg_none; proxy_cache_valid any 1h;
                proxy_pass http://127.0.0.1:\$TEST_NGINX_BACKEND_D_PORT; }"
--- request eval
[ "GET /open/", "GET /v2/library/x/manifests/latest" ]
--- error_code eval
[ 200, 500 ]
--- oci_error eval
[ undef, "UNKNOWN configuration" ]
--- error_log
"proxy_cache_key"
"proxy_cache_bypass"

=== rule 33: an answer that is cut, and does not say how long it is, is not kept
--- backend eval
"raw: HTTP/1.1 200 OK\\r\\nDocker-Content-Digest: $::A\\r\\n\\r\\nhalf of it
"
--- request eval
[ ("GET /v2/library/x/blobs/$::A") x 2 ]
--- response_body: half of it
--- response_headers: X-Cache: MISS

=== rule 33: nor one without a byte, but of what has none; nor one with some of that
--- backend eval
main::named() . "$::NOTHING => header: Docker-Content-Digest: $::NOTHING
body:
/full/ => body: something
"
--- request eval
[ map { ($_) x 2 } "GET /v2/library/x/blobs/$::A", "GET /v2/library/x/blobs/$::NOTHING",
        "GET /v2/library/full/blobs/$::NOTHING" ]
--- response_headers eval
[ map { "X-Cache: $_" } qw(MISS MISS MISS HIT MISS MISS) ]

=== rule 33: nor one in another form, which not all clients read, nor a part of it
--- backend eval
main::named() . "/x/ => header: Content-Encoding: gzip
/y/ => header: Content-Range: bytes 0-9/20
"
--- request eval
[ map { ("GET /v2/library/$_/blobs/$::A") x 2 } qw(x y z) ]
--- response_headers eval
[ map { "X-Cache: $_" } qw(MISS MISS MISS MISS MISS HIT) ]

=== rule 33: nor one that does not name the content, as a page that some server between has for all requests
--- backend eval
"/none/ => header: Content-Type: text/html
/other/ => header: Docker-Content-Digest: $::B
/two/ => header: Docker-Content-Digest: $::A
/two/ => header: Docker-Content-Digest: $::B
/odd/ => header: Docker-Content-Digest: $::A, $::B
/its/ => header: Docker-Content-Digest: $::A
/sha512/ => header: Docker-Content-Digest: sha512:" . 'f' x 128 . "
"
--- request eval
[ map { ("GET /v2/library/$_/blobs/$::A") x 2 } qw(none other two odd its sha512) ]
--- response_headers eval
[ (map { "X-Cache: $_" } ('MISS') x 8, ('MISS', 'HIT') x 2) ]

=== rule 33: only 200 is kept, whatever proxy_cache_valid says
--- config eval
"location / { $::GATE $::CACHE proxy_cache_valid any 1h; proxy_pass http://registry; }"
--- backend
/blobs/ => status: 404
/manifests/ => status: 202
--- request eval
[ map { ("GET /v2/library/x/$_/$::A") x 2 } qw(blobs manifests) ]
--- error_code eval
[ 404, 404, 202, 202 ]
--- response_headers: X-Cache: MISS

=== rule 33: a client that has it already gets 304, and the next one all of it out of the cache
--- backend eval
main::named() . "header: ETag: \"x\"
"
--- request eval
[ ("GET /v2/library/x/blobs/$::A") x 2 ]
--- more_headers eval
[ "If-None-Match: \"x\"", "" ]
--- error_code eval
[ 304, 200 ]
--- response_headers eval
[ "X-Cache: MISS", "X-Cache: HIT" ]

=== a cookie of the registry's is for whom it was sent to
--- backend eval
main::named() . "header: Set-Cookie: a=b
"
--- config eval
"location / { $::GATE $::CACHE proxy_ignore_headers Set-Cookie; proxy_pass http://registry; }"
--- request eval
[ ("GET /v2/library/x/blobs/$::A") x 2 ]
--- response_headers eval
[ "X-Cache: MISS\nSet-Cookie: a=b", "X-Cache: HIT\n!Set-Cookie" ]

=== a registry that nginx.conf names: its name is in the key
--- config eval
"location / { $::GATE $::CACHE proxy_pass http://127.0.0.1:\$TEST_NGINX_BACKEND_PORT; }
        location /v2/shared/ { $::GATE $::CACHE proxy_pass http://127.0.0.1:\$TEST_NGINX_BACKEND_D_PORT; }"
--- redis
HSET docker-registry:group:public grant:library/** pull grant:shared/** pull
--- request eval
[ "GET /v2/library/x/blobs/$::A", "GET /v2/shared/x/blobs/$::A" ]
--- response_headers eval
[ "X-Blob: docker-registry 127.0.0.1:\$TEST_NGINX_BACKEND_PORT % - library/x\@$::A",
        "X-Blob: docker-registry 127.0.0.1:\$TEST_NGINX_BACKEND_D_PORT % - shared/x\@$::A" ]

=== rule 33: several registries behind one address, told apart by the host: a copy for each
--- config eval
"location / { $::GATE $::CACHE proxy_set_header Host \$http_host; proxy_pass http://registry; }"
--- request eval
[ ("GET /v2/library/x/blobs/$::A") x 3 ]
--- more_headers eval
[ "Host: a.example", "Host: b.example", "Host: a.example" ]
--- response_headers eval
[ "X-Cache: MISS\nX-Blob: docker-registry registry a.example $::TO_B library/x\@$::A", "X-Cache: MISS",
        "X-Cache: HIT" ]

=== rule 33: a host that is made of what the gate knows
--- config eval
"location / { $::GATE $::CACHE proxy_set_header Host \$registry_auth_user.internal;
        proxy_pass http://registry; }"
--- request eval
[ ("GET /v2/library/x/blobs/$::A") x 3 ]
--- login eval
[ "alice:secret", "bob:secret", "alice:secret" ]
--- response_body_like eval
[ qr/header: Host: alice.internal/, qr/header: Host: bob.internal/, qr/header: Host: alice.internal/ ]
--- response_headers eval
[ map { "X-Cache: $_" } qw(MISS MISS HIT) ]

=== rule 33: one backend behind two upstreams, whose names are its hosts
--- http_config eval
"    proxy_cache_path \$TEST_NGINX_SERVROOT/kept keys_zone=c:1m;
    upstream other { registry_auth_backends; }\n" . Harness::gate_http()
--- config eval
"location / { $::GATE $::CACHE if (\$http_x_other) { proxy_pass http://other; } proxy_pass http://registry; }"
--- request eval
[ ("GET /v2/library/x/blobs/$::A") x 4 ]
--- more_headers eval
[ "", "X-Other: 1", "", "X-Other: 1" ]
--- response_body_like eval
[ (qr/header: Host: registry/, qr/header: Host: other/) x 2 ]

=== rule 33: one registry that nginx.conf names, and the users' own, behind one cache
--- config eval
"location / { $::GATE $::CACHE if (\$http_x_other) {
                proxy_pass http://127.0.0.1:\$TEST_NGINX_BACKEND_D_PORT; }
        proxy_pass http://registry; }"
--- request eval
[ ("GET /v2/library/x/blobs/$::A") x 4 ]
--- more_headers eval
[ "X-Other: 1", "", "X-Other: 1", "" ]
--- response_body_like eval
[ (qr/backend: D/, qr/backend: B/) x 2 ]

=== rule 33: accounts of two prefixes with one registry: a copy for each
--- config eval
"location / { $::GATE $::CACHE proxy_pass http://127.0.0.1:\$TEST_NGINX_BACKEND_PORT;
        location /v2/shared/ { registry_auth_prefix other; $::GATE $::CACHE
                proxy_pass http://127.0.0.1:\$TEST_NGINX_BACKEND_PORT; } }"
--- redis
HSET docker-registry:group:public grant:shared/** pull grant:library/** pull
HSET other:group:public grant:shared/** pull
--- login:
--- request eval
[ "GET /v2/library/x/blobs/$::A", "GET /v2/shared/x/blobs/$::A" ]
--- response_headers eval
[ "X-Blob: docker-registry 127.0.0.1:\$TEST_NGINX_BACKEND_PORT % - library/x\@$::A",
        "X-Blob: other 127.0.0.1:\$TEST_NGINX_BACKEND_PORT % - shared/x\@$::A" ]

=== variables choose the registry, or another path goes on: there is no key
--- config eval
"set \$to registry; location / { $::GATE $::CACHE proxy_pass http://\$to; }
        location /v2/shared/ { $::GATE $::CACHE proxy_pass http://registry/v2/library/; }"
--- request eval
[ ("GET /v2/library/x/blobs/$::A", "GET /v2/shared/x/blobs/$::A") x 2 ]
--- response_headers
X-Cache: BYPASS
!X-Blob

=== the store is asked before the cache, and both are counted
--- http_config eval
"    registry_auth_cache zone=z:1m;
    proxy_cache_path \$TEST_NGINX_SERVROOT/kept keys_zone=c:1m;\n" . Harness::gate_http()
--- config eval
"location / {
        $::GATE $::CACHE registry_auth_store \$TEST_NGINX_SERVROOT/disk layout=oci backend=$::TO_B;
        proxy_pass http://registry; }
        location = /status { registry_auth_status; }"
--- init
main::empty();
my $folder = expand('$TEST_NGINX_SERVROOT/disk/library/x/blobs/sha256');
system 'mkdir', '-p', $folder;
open my $out, '>', "$folder/" . 'a' x 64 or die $!;
print {$out} 'of the disk';
close $out;
--- request eval
[ ("GET /v2/library/x/blobs/$::A") x 2, ("GET /v2/library/x/blobs/$::B") x 3, "GET /status?format=json" ]
--- response_body_like eval
[ (qr/\Aof the disk\z/) x 2, (qr/backend: B/) x 3, qr/"source":\{"backend":1,"cache":2,"store":2\}/ ]

=== by a token as by a password: one copy, and none for a token of another repository
--- http_config eval
"    registry_auth_token_key \$TEST_NGINX_SERVROOT/keys;
    proxy_cache_path \$TEST_NGINX_SERVROOT/kept keys_zone=c:1m;\n" . Harness::gate_http()
--- config eval
"registry_auth R; registry_auth_bearer http://localhost/token service=registry;
        location = /token { registry_auth_token; }
        location / { $::GATE $::CACHE proxy_pass http://registry; }"
--- init
main::empty();
Harness::Token::key_file("$main::KEY\n");
--- after
my ($right, $wrong) = map { token('alice:secret', "repository:library/$_:pull") } qw(x y);
my $request = "GET /v2/library/x/blobs/$main::A";
my @answers = (http($request, login => 'bob:secret'), map { with_token($_, $request) } $right, $wrong);
equal(join(' ', map { $_->{status} . Harness::Zone::header($_, 'X-Cache') } @answers),
    '200MISS 200HIT 401', 'answers');

=== what is too old is asked for anew while a client gets the old, and kept in its place
--- config eval
my $cache = $main::CACHE =~ s/proxy_ignore_headers Cache-Control;//r;
"location / { $::GATE $cache proxy_cache_background_update on; proxy_cache_use_stale updating;
        proxy_pass http://registry; }"
--- backend eval
main::named() . "header: Cache-Control: max-age=1\nbody: old\n"
--- after
my $ask = sub {
    my $answer = http("GET /v2/library/x/blobs/$main::A", login => 'alice:secret');
    return Harness::Zone::header($answer, 'X-Cache') . " $answer->{body}";
};
equal($ask->(), 'MISS old', 'at first');
Harness::backend()->begin(main::named() . "header: Cache-Control: max-age=3600\nbody: new\n");
soon('in the end', 'HIT new', $ask, 10);
equal(scalar(@{ Harness::backend()->received }), 1, 'requests since');

=== where allow= lets a user go to no registry, nothing comes out of the cache, either
--- http_config eval
"    proxy_cache_path \$TEST_NGINX_SERVROOT/kept keys_zone=c:1m;
    upstream registry { registry_auth_backends allow=$::TO_B allow=$::TO_C; }"
--- request eval
[ ("GET /v2/library/x/blobs/$::A") x 2 ]
--- response_headers eval
[ map { "X-Cache: $_" } qw(MISS HIT) ]
--- after
my ($without, $request) = (expand(" allow=$main::TO_B"), "GET /v2/library/x/blobs/$main::A");
Harness::Zone::reload(sub { $_[0] =~ s/\Q$without\E//r });
equal(http($request, login => 'alice:secret')->{status}, 503, 'the backend is not permitted');
equal(http($request, login => 'mallory:secret')->{status}, 200, 'another one is');

=== V1 names no content by a digest: each request goes to the registry
--- request eval
[ map { ($_) x 2 } "GET /v1/images/" . "a" x 64 . "/layer", "GET /v1/repositories/library/x/images" ]
--- response_headers
X-Cache: BYPASS
!X-Blob
--- forwarded: 1

=== without a gate there is no such key
--- config eval
"location / { registry_auth off; $::CACHE proxy_pass http://127.0.0.1:\$TEST_NGINX_BACKEND_PORT; }"
--- request eval
[ ("GET /v2/library/x/blobs/$::A") x 2 ]
--- response_headers: X-Cache: BYPASS
