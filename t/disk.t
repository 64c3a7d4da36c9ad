# Blobs from the registry's own disk: who is sent them, and when the registry is asked all the same. What
# nginx -t says of the directive is in t/conf.t; that clients see no difference, in e2e/test_disk.py.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone qw(equal);

use File::Path qw(make_path remove_tree);
use POSIX qw(mkfifo);

our %HEX = (map({ $_ => $_ x 64 } qw(a b c d e f)));
our $TREE = 'docker/registry/v2';

sub disk { expand("\$TEST_NGINX_SERVROOT/disk") }

sub put {
    my ($path, $content) = @_;
    (my $folder = $path) =~ s{/[^/]+$}{};
    make_path($folder);
    open my $out, '>', $path or die "$path: $!\n";
    print {$out} $content;
    close $out;
}

sub link_of {
    my ($repository, $letter, $folder) = @_;
    return ($folder // disk()) . "/$TREE/repositories/$repository/_layers/sha256/$HEX{$letter}/link";
}

sub data_of {
    my ($letter, $folder) = @_;
    return ($folder // disk()) . "/$TREE/blobs/sha256/$letter$letter/$HEX{$letter}/data";
}

# What a registry has after a push; `content` is that of the blob.
sub blob {
    my ($repository, $letter, $content, $folder) = @_;
    put(data_of($letter, $folder), $content);
    put(link_of($repository, $letter, $folder), "sha256:$HEX{$letter}");
}

# The storage that all blocks begin with.
sub fresh {
    remove_tree(disk(), disk() . '-b', disk() . '-oci');
    blob('alice/x',  'a', 'the blob of alice');
    blob('public/x', 'b', 'the public blob');
    blob('bob/x',    'c', 'the blob of bob');
    blob('alice/x',  'd', 'her other blob', disk() . '-b');
}

# Pulls a blob again and again, or begins to, while its registry collects it as garbage and has it pushed
# anew: what comes is the blob, or the registry's answer, and nothing else.
sub pull_while_collected {
    my $content = join '', map { pack 'N', $_ } 1 .. 200_000;
    my ($data, $link) = (data_of('a'), link_of('alice/x', 'a'));
    put($data, $content);
    my $pid = fork // die $!;
    if (!$pid) {
        for (1 .. 200) {
            unlink $link, $data;
            put("$data.new", $content);
            rename "$data.new", $data;
            put($link, "sha256:$HEX{a}");
        }
        POSIX::_exit(0);
    }
    my ($request, $login) = ('GET ' . path('alice/x', 'a'), 'alice:secret');
    my $begun = Harness::Client::parse_request($request, '', $login, 0);
    my %seen;
    do {
        Harness::Client::abort(expand('$TEST_NGINX_SERVER_PORT'), $begun, 0) for 1 .. 4;
        for my $body (map { $_->{body} } http_many(8, $request, login => $login)) {
            my $is_known = $body eq $content || $body =~ /\Abackend: A/;
            $seen{ $is_known ? 'known' : 'wrong: ' . length $body }++;
        }
    } until waitpid($pid, POSIX::WNOHANG()) == $pid;
    equal(join(', ', keys %seen), 'known', 'what came');
    equal(http($request, login => $login)->{body} eq $content ? 1 : 0, 1, 'the blob in the end');
}

sub path { my ($repository, $letter) = @_; "/v2/$repository/blobs/sha256:$HEX{$letter}" }

our $GATE = 'registry_auth R; proxy_set_header Authorization "";';
our ($B, $C, $D) = map { '127.0.0.1:$TEST_NGINX_BACKEND_' . $_ . '_PORT' } qw(B C D);
our $MINE = 'registry_auth_store $TEST_NGINX_SERVROOT/disk;';

defaults(
    http_config => gate_http() . '
    log_format source "source=$registry_auth_source. blob=$registry_auth_blob. no=$registry_auth_no_blob.";
    access_log $TEST_NGINX_SERVROOT/logs/access.log source;
',
    config   => "location / { $GATE $MINE proxy_pass http://registry; }",
    accounts => "alice:secret\nbob:secret\nmany:secret\n",
    redis    => "HSET docker-registry:group:public grant:public/** pull\n",
    login    => 'alice:secret',
    init     => 'main::fresh()',
);
run_tests();

__DATA__
=== a granted blob comes from the disk, with the registry's headers, and no registry is asked
--- request eval
"GET " . main::path('alice/x', 'a')
--- response_body: the blob of alice
--- response_headers eval
"Content-Length: 17
Content-Type: application/octet-stream
Docker-Content-Digest: sha256:$::HEX{a}
Docker-Distribution-Api-Version: registry/2.0
ETag: \"sha256:$::HEX{a}\"
Accept-Ranges: bytes
Cache-Control: max-age=31536000
!Last-Modified"
--- forwarded: 0
--- access_log: source=store.

=== HEAD, too, with one range, and where the digest's colon is escaped
--- request eval
[ "HEAD " . main::path('alice/x', 'a'), "GET " . main::path('alice/x', 'a'),
        "GET " . main::path('alice/x', 'a'), "GET /v2/alice/x/blobs/sha256%3A$::HEX{a}" ]
--- more_headers eval
[ "", "Range: bytes=4-7", "Range: bytes=-5\nIf-Range: \"sha256:$::HEX{a}\"", "" ]
--- error_code eval
[ 200, 206, 206, 200 ]
--- response_body eval
[ "", "blob", "alice", "the blob of alice" ]
--- response_headers eval
[ "Content-Length: 17", "Content-Range: bytes 4-7/17", "Content-Range: bytes 12-16/17", "Content-Length: 17" ]
--- forwarded: 0

=== a client that has it already gets 304; one with another gets it
--- request eval
[ ("GET " . main::path('alice/x', 'a')) x 4 ]
--- more_headers eval
[ "If-None-Match: \"sha256:$::HEX{a}\"", "If-None-Match: \"x\", W/\"sha256:$::HEX{a}\"",
        "If-None-Match: \"x\"", "Range: bytes=0-2\nIf-Range: \"x\"" ]
--- error_code eval
[ 304, 304, 200, 200 ]
--- response_body eval
[ "", "", "the blob of alice", "the blob of alice" ]
--- forwarded: 0

=== what is public, for the anonymous
--- request eval
"GET " . main::path('public/x', 'b')
--- login:
--- response_body: the public blob
--- forwarded: 0

=== refused is refused, whether the blob is there or not
--- request eval
[ map({ "GET " . main::path(@$_) } ['bob/x', 'c'], ['bob/x', 'd'], ['alice/x', 'a'], ['alice/x', 'f']) ]
--- login eval
[ "alice:secret", "alice:secret", "", "" ]
--- error_code eval
[ 403, 403, 401, 401 ]
--- forwarded: 0
--- access_log: source=-.
--- no_access_log: source=store

=== a blob of another repository is none of this one
--- request eval
[ "GET " . main::path('alice/x', 'c'), "GET " . main::path('alice/y', 'a'), "GET " . main::path('alice/x',
        'f') ]
--- forwarded: 1
--- response_body_like: backend: A
--- access_log: source=backend.

=== a deleted blob is gone at once: its link
--- init
main::fresh();
unlink main::link_of('alice/x', 'a');
--- request eval
"GET " . main::path('alice/x', 'a')
--- forwarded: 1

=== a link that does not name the digest, and nothing else
--- init
main::fresh();
my $hex = $main::HEX{a};
my %link = (p => "sha256:$main::HEX{c}", q => '../../../../bob/x', r => "sha256:$hex\n", s => '',
        t => $hex, u => "sha256:${hex}0");
main::put(main::link_of("alice/$_", 'a'), $link{$_}) for keys %link;
--- request eval
[ map { "GET " . main::path("alice/$_", 'a') } qw(p q r s t u) ]
--- forwarded: 1

=== a link that is a link, a folder, or a pipe
--- init
main::fresh();
my ($p, $q, $r, $s) = map { main::link_of("alice/$_", 'a') } qw(p q r s);
for ($p, $q, $r) { (my $folder = $_) =~ s{/link$}{}; File::Path::make_path($folder) }
symlink main::link_of('alice/x', 'a'), $p or die $!;
mkdir $q or die $!;
POSIX::mkfifo($r, 0600) or die $!;
main::put(main::disk() . '/elsewhere/link', "sha256:$main::HEX{a}");
(my $folder = $s) =~ s{/sha256/\w+/link$}{};
File::Path::make_path($folder);
symlink '../../../x/_layers/sha256', "$folder/sha256" or die $!;
--- request eval
[ map { "GET " . main::path("alice/$_", 'a') } qw(p q r s) ]
--- timeout: 3
--- forwarded: 1
--- error_log
"registry_auth_store"

=== content that is a link, a folder, or a pipe, or behind a link; and an empty file
--- init
main::fresh();
main::put(main::link_of('alice/x', $_), "sha256:$main::HEX{$_}") for qw(b c d e f);
unlink main::data_of('b');
symlink '/etc/passwd', main::data_of('b') or die $!;
unlink main::data_of('c');
mkdir main::data_of('c') or die $!;
(my $folder = main::data_of('d')) =~ s{/data$}{};
File::Path::make_path($folder);
POSIX::mkfifo("$folder/data", 0600) or die $!;
($folder = main::data_of('e')) =~ s{/ee/.*}{};
main::put(main::disk() . "/elsewhere/$main::HEX{e}/data", 'elsewhere');
symlink main::disk() . '/elsewhere', "$folder/ee" or die $!;
main::put(main::data_of('f'), '');
--- request eval
[ map { "GET " . main::path('alice/x', $_) } qw(b c d e f) ]
--- timeout: 3
--- forwarded: 1
--- response_body_like: backend: A
--- error_log
cannot be sent

=== the folder itself may be reached by a link
--- init
main::fresh();
unlink main::disk() . '-link';
symlink 'disk', main::disk() . '-link' or die $!;
--- config eval
"location / { $::GATE registry_auth_store \$TEST_NGINX_SERVROOT/disk-link//; proxy_pass http://registry; }"
--- request eval
"GET " . main::path('alice/x', 'a')
--- response_body: the blob of alice
--- forwarded: 0

=== no folder at all
--- config eval
"location / { $::GATE registry_auth_store /nowhere; proxy_pass http://registry; }"
--- request eval
"GET " . main::path('alice/x', 'a')
--- forwarded: 1

=== all else goes to the registry: manifests, uploads, tags, other digests
--- request eval
[ "GET /v2/alice/x/manifests/sha256:$::HEX{a}", "GET /v2/alice/x/manifests/latest",
        "GET /v2/alice/x/tags/list",
  "GET /v2/alice/x/blobs/uploads/abc", "GET /v2/alice/x/referrers/sha256:$::HEX{a}",
          "GET /v2/alice/x/blobs/sha256:" . uc $::HEX{a},
  "GET /v2/alice/x/blobs/sha512:$::HEX{a}$::HEX{a}", "GET /v2/", "DELETE " . main::path('alice/x', 'a') ]
--- forwarded: 1

=== what servers answer differently goes to the registry: with a query, odd ranges, dates
--- request eval
[ "GET " . main::path('alice/x', 'a') . "?a=b", ("GET " . main::path('alice/x', 'a')) x 8 ]
--- more_headers eval
[ "", "Range: bytes=0-1,3-4", "Range: bytes=17-", "Range: items=0-1", "Range: bytes=5-4",
        "Range: bytes=-0", "If-Match: \"x\"",
  "If-Modified-Since: Sat, 29 Oct 1994 19:43:31 GMT",
  "If-Range: Sat, 29 Oct 1994 19:43:31 GMT\nRange: bytes=0-1" ]
--- forwarded: 1
--- response_body_like: backend: A

=== paths that are none: nothing is looked for
--- request eval
[ "GET /v2/alice/x/blobs/../blobs/sha256:$::HEX{a}", "GET /v2/alice/x//blobs/sha256:$::HEX{a}",
        "GET /v2/bob/../alice/x/blobs/sha256:$::HEX{a}",
  "GET /v2/alice/x/blobs/sha256:$::HEX{a}/", "GET /v2/alice%2fx/blobs/sha256:$::HEX{a}",
          "GET /v2/alice/x/blobs/sha256:%61" . substr($::HEX{a}, 1) ]
--- error_code_like: ^40[04]
--- forwarded: 0

=== whose folder it is: all of the user's backends have it, or the user has none
--- config eval
"location / {
        $::GATE $::MINE registry_auth_store \$TEST_NGINX_SERVROOT/disk-b backend=$::B backend=$::C;
        proxy_pass http://registry; }"
--- redis eval
"HSET docker-registry:user:alice backends $::B grant:alice/** pull
HSET docker-registry:user:bob backends $::D grant:alice/** pull
HSET docker-registry:user:many grant:alice/** pull backends \"$::C $::D\"
HSET docker-registry:group:public grant:alice/** pull
"
--- request eval
[ map({ ("GET " . main::path('alice/x', $_)) x 4 } qw(a d)) ]
--- login eval
[ ("alice:secret", "bob:secret", "many:secret", "") x 2 ]
--- response_body_like eval
[ qr/backend: B/, qr/backend: D/, qr/backend: [CD]/, qr/the blob of alice/, qr/her other blob/,
        qr/backend: D/, qr/backend: [CD]/, qr/backend: A/ ]

=== both of two backends have it
--- config eval
"location / {
        $::GATE registry_auth_store \$TEST_NGINX_SERVROOT/disk-b backend=$::B backend=$::C;
        proxy_pass http://registry; }"
--- redis eval
"HSET docker-registry:user:alice backends \"$::C $::B\"\n"
--- request eval
"GET " . main::path('alice/x', 'd')
--- response_body: her other blob
--- forwarded: 0

=== one registry for all, whatever backends users have
--- config eval
"location / { $::GATE $::MINE proxy_pass http://127.0.0.1:\$TEST_NGINX_BACKEND_PORT; }"
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- request eval
"GET " . main::path('alice/x', 'a')
--- response_body: the blob of alice
--- forwarded: 0

=== variables choose the registry, or another path goes on: nothing is known to be the same
--- config eval
"registry_auth_store \$TEST_NGINX_SERVROOT/disk backend=$::B;
        $::MINE
        set \$to registry; location / { $::GATE proxy_pass http://\$to; }
        location /v2/public/ { $::GATE proxy_pass http://registry/v2/alice/; }
        location /v2/library/ { $::GATE proxy_pass http://127.0.0.1:\$TEST_NGINX_BACKEND_PORT\$request_uri; }"
--- redis eval
"HSET docker-registry:user:alice backends $::B
HSET docker-registry:group:public grant:public/** pull grant:library/** pull
"
--- init
main::fresh();
main::blob('library/x', 'e', 'of the library');
--- request eval
[ "GET " . main::path('alice/x', 'a'), "GET " . main::path('public/x', 'b'),
  "GET " . main::path('library/x', 'e') ]
--- response_body_like eval
[ qr/backend: B/, qr/backend: B/, qr/backend: A/ ]

=== an OCI image layout for each repository
--- config eval
"location / { $::GATE registry_auth_store \$TEST_NGINX_SERVROOT/disk-oci layout=oci;
        proxy_pass http://registry; }"
--- init
main::fresh();
main::put(main::disk() . "-oci/alice/x/blobs/sha256/$main::HEX{a}", 'in a layout');
--- request eval
[ "GET " . main::path('alice/x', 'a'), "GET " . main::path('alice/y', 'a') ]
--- response_body_like eval
[ qr/\Ain a layout\z/, qr/backend: A/ ]

=== a blob that is deleted in a layout is gone at once, also with a cache of open files
--- config eval
"open_file_cache max=10 inactive=1h; open_file_cache_valid 1h; open_file_cache_min_uses 1;
        location / { $::GATE registry_auth_store \$TEST_NGINX_SERVROOT/disk-oci layout=oci;
        proxy_pass http://registry; }"
--- init
main::fresh();
main::put(main::disk() . "-oci/alice/x/blobs/sha256/$main::HEX{a}", 'in a layout');
--- after
my ($request, $login) = ('GET ' . main::path('alice/x', 'a'), 'alice:secret');
equal(http($request, login => $login)->{body}, 'in a layout', "request $_") for 1 .. 2;
unlink main::disk() . "-oci/alice/x/blobs/sha256/$main::HEX{a}" or die $!;
equal(join("", http($request, login => $login)->{body} =~ /(backend: A)/), 'backend: A', 'deleted');

=== a blob that was collected as garbage is gone at once, also with a cache of open files
--- config eval
"open_file_cache max=10 inactive=1h; open_file_cache_valid 1h; open_file_cache_min_uses 1;
        location / { $::GATE $::MINE proxy_pass http://registry; }"
--- after
my ($request, $login) = ('GET ' . main::path('alice/x', 'a'), 'alice:secret');
my $ask = sub { http($request, login => $login)->{body} =~ s/.*(backend: A).*/$1/sr };
equal($ask->(), 'the blob of alice', "request $_") for 1 .. 2;
my $data = main::data_of('a');
rename $data, "$data.gone" or die $!;
equal($ask->(), 'backend: A', 'gone, with its link still there');
main::put($data, 'pushed anew');
equal($ask->(), 'pushed anew', 'another file');

=== where allow= lets a user go to no registry, none of its blobs is sent
--- http_config eval
"    upstream registry { registry_auth_backends allow=$::C; server 127.0.0.1:\$TEST_NGINX_BACKEND_PORT; }"
--- config eval
"location / { $::GATE $::MINE registry_auth_store \$TEST_NGINX_SERVROOT/disk-b backend=$::B backend=$::C;
        proxy_pass http://registry; }"
--- redis eval
"HSET docker-registry:user:alice backends $::B
HSET docker-registry:user:bob backends $::C grant:alice/** pull
HSET docker-registry:user:many backends \"$::B $::C\" grant:alice/** pull
HSET docker-registry:group:public grant:alice/** pull
"
--- request eval
[ ("GET " . main::path('alice/x', 'd')) x 3, "GET " . main::path('alice/x', 'a') ]
--- login eval
[ "alice:secret", "bob:secret", "many:secret", "" ]
--- error_code eval
[ 503, 200, 200, 200 ]
--- response_body_like eval
[ qr/UNAVAILABLE/, (qr/\Aher other blob\z/) x 2, qr/the blob of alice/ ]

=== a location without a gate, reached by itself or through one
--- config eval
"location / { registry_auth off; $::MINE proxy_pass http://127.0.0.1:\$TEST_NGINX_BACKEND_PORT; }
        location /v2/alice/ { $::GATE $::MINE try_files /none \@b; }
        location \@b { registry_auth off; $::MINE proxy_pass http://127.0.0.1:\$TEST_NGINX_BACKEND_PORT; }"
--- request eval
[ "GET " . main::path('bob/x', 'c'), "GET " . main::path('alice/x', 'a') ]
--- forwarded: 1

=== a named location with a gate decides anew, and sends it
--- config eval
"location / { $::GATE try_files /none \@b; }
        location \@b { $::GATE $::MINE proxy_pass http://registry; }"
--- request eval
[ "GET " . main::path('alice/x', 'a'), "GET " . main::path('bob/x', 'c') ]
--- error_code eval
[ 200, 403 ]
--- forwarded: 0

=== another module refuses, or lets in whom the gate does not know
--- config eval
"location /v2/alice/ { deny all; $::GATE $::MINE proxy_pass http://registry; }
        location /v2/bob/ { satisfy any; allow all;
                $::GATE $::MINE proxy_pass http://127.0.0.1:\$TEST_NGINX_BACKEND_PORT; }"
--- request eval
[ "GET " . main::path('alice/x', 'a'), "GET " . main::path('bob/x', 'c') ]
--- error_code eval
[ 403, 200 ]
--- response_body_like eval
[ qr/403/, qr/backend: A/ ]

=== blocks of a location: an if, and limit_except
--- config eval
"location / { $::GATE $::MINE proxy_pass http://registry; if (\$arg_a) { set \$x y; }
        if (\$http_x_other) { proxy_pass http://registry; set \$x z; } }
        location /v2/public/ { $::GATE $::MINE proxy_pass http://registry; limit_except PUT { allow all; } }"
--- request eval
[ ("GET " . main::path('alice/x', 'a')) x 2, "GET " . main::path('alice/x', 'f'),
        "GET " . main::path('alice/x', 'f') . "?a=b", "GET " . main::path('public/x', 'b'),
        "GET " . main::path('public/x', 'f') ]
--- more_headers eval
[ "", "X-Other: 1", "X-Other: 1", ("") x 3 ]
--- response_body_like eval
[ qr/the blob of alice/, qr/the blob of alice/, qr/backend: A/, qr/backend: A/, qr/the public blob/,
        qr/backend: A/ ]

=== inherited, and off where that is said
--- config eval
"$::MINE location / { $::GATE proxy_pass http://registry; } location /v2/alice/x/blobs/ {
        $::GATE registry_auth_store off; proxy_pass http://registry; }"
--- request eval
[ "GET " . main::path('alice/x', 'a'), "GET " . main::path('public/x', 'b') ]
--- response_body_like eval
[ qr/backend: A/, qr/the public blob/ ]

=== a registry that is another one for mirrors: their ns goes on, and so does the request
--- config eval
"location / { $::GATE $::MINE registry_auth_ns pass; proxy_pass http://registry; }
        location /v2/public/ { $::GATE $::MINE proxy_pass http://registry; }"
--- request eval
[ "GET " . main::path('alice/x', 'a') . "?ns=docker.io", "GET " . main::path('public/x',
        'b') . "?ns=docker.io" ]
--- response_body_like eval
[ qr/backend: A/, qr/the public blob/ ]

=== a cache of open files, directio, aio, a rate
--- config eval
"location / { $::GATE $::MINE open_file_cache max=10; open_file_cache_errors on; directio 8; sendfile on;
        limit_rate 1m; proxy_pass http://registry; }"
--- request eval
[ ("GET " . main::path('alice/x', 'a')) x 3, ("GET " . main::path('alice/x', 'f')) x 2 ]
--- response_body_like eval
[ (qr/\Athe blob of alice\z/) x 3, (qr/backend: A/) x 2 ]

=== read by threads, without the page cache, in pieces, over several turns: the same bytes
--- needs: --with-threads
--- init
main::fresh();
main::put(main::data_of('a'), join '', map { pack 'N', $_ } 1 .. 1_000_000);
--- config eval
"location / { $::GATE $::MINE aio threads; directio 1m; output_buffers 2 128k; sendfile on;
        sendfile_max_chunk 64k; proxy_pass http://registry; }
        location /v2/public/ { $::GATE $::MINE aio threads; sendfile on; proxy_pass http://registry; }"
--- request eval
[ ("GET " . main::path('alice/x', 'a')) x 2, "GET " . main::path('public/x', 'b') ]
--- more_headers eval
[ "", "Range: bytes=2000000-2000007", "" ]
--- error_code eval
[ 200, 206, 200 ]
--- response_body eval
[ CORE::join('', map { pack 'N', $_ } 1 .. 1_000_000), pack('NN', 500_001, 500_002), "the public blob" ]
--- forwarded: 0

=== garbage is collected while clients pull, and some go away: no other byte, by threads in several workers
--- needs: --with-threads
--- workers: 4
--- config eval
"location / { $::GATE $::MINE aio threads; directio 64k; output_buffers 2 64k; sendfile on;
        open_file_cache max=10; proxy_pass http://registry; }"
--- after
main::pull_while_collected();

=== the same, sent by the kernel and read ahead by threads, in one process
--- needs: --with-threads
--- main_config
master_process off;
--- config eval
"location / { $::GATE $::MINE aio threads; sendfile on; sendfile_max_chunk 64k; proxy_pass http://registry; }"
--- after
main::pull_while_collected();

=== a request with a body, kept connections, and one answer after the other
--- pipelined_requests eval
[ "GET " . main::path('alice/x', 'a'), "POST " . main::path('alice/x', 'a') . "\nabc",
        "GET " . main::path('public/x', 'b'), "GET " . main::path('alice/x', 'f') ]
--- error_code eval
[ 200, 404, 200, 200 ]

=== over HTTP/2
--- http2
--- request eval
"GET " . main::path('alice/x', 'a')
--- response_body: the blob of alice
--- forwarded: 0

=== answers are counted by where they came from
--- http_config eval
"    registry_auth_cache zone=z:1m;\n" . Harness::gate_http()
--- config eval
"location / { $::GATE $::MINE proxy_pass http://registry; } location = /status { registry_auth_status; }"
--- request eval
[ ("GET " . main::path('alice/x', 'a')) x 2, "GET " . main::path('bob/x', 'c'),
        "GET /v2/alice/x/tags/list", "GET /status?format=json" ]
--- error_code eval
[ 200, 200, 403, 200, 200 ]
--- response_body_like eval
[ "", "", "", "", qr/"source":\{"backend":1,"cache":0,"store":2\}/ ]
