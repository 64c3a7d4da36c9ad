# registry_auth_catalog; rule 9: a catalogue shows what
# its reader may pull and nothing else, in full pages, whatever the registry's
# pages are like; what cannot be read is not shown.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Test::More;

# A registry whose pages are these, by the `last` that they are asked for with:
# status, body, and whether it links to another page.
sub registry {
    my ($more, %page) = @_;
    my ($bodies, $links, $statuses) = ('', '', '');
    for my $last (sort keys %page) {
        my ($body, $next) = @{ $page{$last} };
        $body =~ s/([\\'])/\\$1/g;
        $bodies .= "        \"$last\" '$body';\n";
        $links  .= "        \"$last\" '</v2/_catalog?last=secret/leak&n=1000>; rel=\"next\"';\n" if $next;
    }
    return <<"EOC";
    map \$arg_last \$page { default ''; volatile;
$bodies    }
    map \$arg_last \$next { default ''; volatile;
$links    }
    upstream registry { server 127.0.0.1:\$TEST_NGINX_EXTRA_PORT; }
    server {
        listen 127.0.0.1:\$TEST_NGINX_EXTRA_PORT;
        default_type application/json;
        location / { return 200 asked; }
        location = /v2/_catalog {
            add_header Link \$next;
            add_header X-Asked \$args;
            $more
            return 200 \$page;
        }
    }
EOC
}

sub names { return '{"repositories":[' . join(',', map {"\"$_\""} @_) . ']}' }

# A registry without an end.
sub endless {
    return <<'EOC';
    upstream registry { server 127.0.0.1:$TEST_NGINX_EXTRA_PORT; keepalive 1; }
    server {
        listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT;
        location = /v2/_catalog {
            default_type application/json;
            add_header Link '</v2/_catalog?last=x>; rel="next"';
            return 200 '{"repositories":["secret/$request_id"]}';
        }
    }
EOC
}

# What is sent as chunks of a body is what the registry says it is.
our $broken =
    'ssi on; ssi_types *; chunked_transfer_encoding off; add_header Transfer-Encoding chunked always;';

# Asks for lists, and does not wait for them.
sub lists {
    return map {
        my $socket = Harness::Client::connect_to(expand('$TEST_NGINX_SERVER_PORT'));
        my $request = Harness::Client::parse_request('GET /v2/_catalog', undef, $_, 0);
        Harness::Client::write_all($socket, Harness::Client::bytes($request));
        $socket;
    } @_;
}

# The catalogue for each of these logins, at the same time; a number is how long that may take.
sub at_once {
    my ($timeout) = grep {/^[\d.]+$/} @_;
    my @request = map { Harness::Client::parse_request('GET /v2/_catalog', undef, $_, 0) } grep {/:/} @_;
    return Harness::Client::parallel(
        expand('$TEST_NGINX_SERVER_PORT'), \@request, Harness::Valgrind::timeout($timeout // 20));
}

our $three = registry(
    '',
    ''        => [ names('alice/app', 'bob/app'),   1 ],
    'bob/app' => [ names('carol/x', 'secret/y'),    1 ],
    'secret/y' => [ names('alice/zoo', 'team/app', 'zoo/app'), 0 ],
);
our $grants = 'HSET docker-registry:user:alice grant:team/* pull grant:zoo/app push';

defaults(
    http_config => $three,
    config      => gate_config(),
    accounts    => "alice:secret\nbob:secret\nnobody:secret\n",
    redis       => $grants,
);
run_tests();

__DATA__
=== what the user may pull of all the registry's pages, and no link where there is no more
--- login: alice:secret
--- request eval
[ "GET /v2/_catalog", "GET /v2/_catalog?n=3", "GET /v2/_catalog?n=1000000" ]
--- response_body
{"repositories":["alice/app","alice/zoo","team/app"]}
--- response_headers
Content-Type: application/json
Content-Length: 54
Docker-Distribution-Api-Version: registry/2.0
!Link
!X-Asked

=== pages are full, and the link names what was shown, not what was hidden
--- login: alice:secret
--- request eval
[ "GET /v2/_catalog?n=1", "GET /v2/_catalog?n=2" ]
--- response_body eval
[ qq({"repositories":["alice/app"]}\n), qq({"repositories":["alice/app","alice/zoo"]}\n) ]
--- response_headers eval
[ 'Link: </v2/_catalog?last=alice/app&n=1>; rel="next"',
  'Link: </v2/_catalog?last=alice/zoo&n=2>; rel="next"' ]

=== n is read as distribution reads it: 0 is none, what is no number is as if it were not there
--- login: alice:secret
--- request eval
[ map {"GET /v2/_catalog?n=$_"} '0', '', 'abc', '-1' ]
--- response_body_like eval
[ qr(^\{"repositories":\[\]\}$), (qr(^\{"repositories":\["alice/app","alice/zoo")) x 3 ]
--- response_headers
!Link

=== the registry is asked for what comes after `last`
--- login: alice:secret
--- request eval
[ "GET /v2/_catalog?last=secret/y", "GET /v2/_catalog?n=1&last=secret%2Fy" ]
--- response_body eval
[ qq({"repositories":["alice/zoo","team/app"]}\n), qq({"repositories":["alice/zoo"]}\n) ]

=== who may pull nothing sees nothing, and no link
--- login: nobody:secret
--- request
GET /v2/_catalog
--- response_body
{"repositories":[]}
--- response_headers
!Link

=== a denial hides, a group and public show
--- redis
HSET docker-registry:user:alice grant:!alice/zoo pull groups crew
HSET docker-registry:group:crew grant:carol/* pull
HSET docker-registry:group:public grant:bob/* pull
--- login: alice:secret
--- request
GET /v2/_catalog
--- response_body
{"repositories":["alice/app","bob/app","carol/x"]}

=== who is nobody is asked for credentials, also where all is public
--- redis
HSET docker-registry:group:public grant:** *
--- request
GET /v2/_catalog
--- error_code: 401
--- oci_error: UNAUTHORIZED

=== registry_auth_catalog off: 403, and the registry is not asked
--- http_config eval
Harness::gate_http()
--- config eval
Harness::gate_config('registry_auth_catalog off;')
--- login: alice:secret
--- request
GET /v2/_catalog
--- error_code: 403
--- oci_error: DENIED
--- forwarded: 0

=== registry_auth_catalog: anything else is an error of the configuration
--- config eval
Harness::gate_config('registry_auth_catalog on;')
--- must_die
--- error_log
"registry_auth_catalog"
"on"

=== what is there twice, or is no text, is no number
--- login: alice:secret
--- request eval
[ map {"GET /v2/_catalog?$_"} 'n=1&n=2', 'last=a&last=b', 'last=%ff' ]
--- error_code: 400
--- oci_error: PAGINATION_NUMBER_INVALID

=== only GET
--- login: alice:secret
--- request eval
[ "HEAD /v2/_catalog", "POST /v2/_catalog", "DELETE /v2/_catalog" ]
--- error_code: 404

=== the registry is asked for pages of 1,000, plain, whatever the client asks for
--- http_config eval
Harness::gate_http()
--- backend
body: {"repositories":["alice/x","b"]}
--- login: alice:secret
--- more_headers
Accept-Encoding: gzip, br
--- request
GET /v2/_catalog?n=5000&last=a%26n%3d1&x=y
--- response_body
{"repositories":["alice/x"]}
--- forwarded: GET /v2/_catalog?n=1000&last=a%26n%3D1
--- backend_received_like
Accept-Encoding: identity
--- backend_not_received
gzip

=== a chunked answer is read as well
--- http_config eval
main::registry('ssi on; ssi_types *;',
    '' => [ '{"repositories":["alice/x",<!--# echo var="arg_n" encoding="none" -->"b"]}',
    0 ]) =~ s/"alice\/x",<.*>"b"/"alice\/x","b<!--# echo var="arg_x" default="c" -->"/r
--- login: alice:secret
--- request
GET /v2/_catalog
--- response_body
{"repositories":["alice/x"]}

=== what is no catalogue: 502, nothing of it gets out
--- http_config eval
main::registry('', '' => [ '{"repositories":["alice/app","bob/secret"', 0 ],
    'html' => [ '<html>bob/secret</html>', 0 ], 'list' => [ '["bob/secret"]', 0 ],
    'number' => [ '{"repositories":[7]}', 0 ])
--- login: alice:secret
--- request eval
[ map {"GET /v2/_catalog$_"} '', '?last=html', '?last=list', '?last=number', '?last=nothing' ]
--- error_code: 502
--- oci_error: UNKNOWN
--- error_log
registry_auth: the registry's catalog: it is no list of repositories in JSON

=== an encoded answer: 502
--- http_config eval
main::registry('add_header Content-Encoding gzip;', '' => [ main::names('alice/app'), 0 ])
--- login: alice:secret
--- request
GET /v2/_catalog
--- error_code: 502
--- oci_error: UNKNOWN
--- error_log
it is encoded

=== a page that goes no further: 502
--- http_config eval
main::registry('', '' => [ main::names('alice/app'), 1 ], 'alice/app' => [ main::names('alice/app'), 1 ])
--- login: alice:secret
--- request
GET /v2/_catalog
--- error_code: 502
--- error_log
does not go further

=== the registry's own refusal reaches the client
--- http_config eval
main::registry('return 404 "no such thing";')
--- login: alice:secret
--- request
GET /v2/_catalog
--- error_code: 404
--- response_body: no such thing

=== it is asked once: what it answers to a second request can be no catalogue, and holds nobody up
--- http_config
    upstream registry { server 127.0.0.1:$TEST_NGINX_EXTRA_PORT; keepalive 1; }
    map $connection_requests $first { 1 1; default 0; }
    server {
        listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT;
        location = /v2/_catalog {
            if ($first) { return 404 "not yet"; }
            root $TEST_NGINX_HTML_DIR;
        }
        location / { return 200 asked; }
    }
--- user_files eval
">>> v2/_catalog\n" . main::names(map { "bob/secret$_" } 1 .. 20_000)
--- login: alice:secret
--- pipelined_requests eval
[ "GET /v2/_catalog", "GET /v2/alice/app/tags/list", "GET /v2/_catalog" ]
--- error_code eval
[ 404, 200, 200 ]
--- response_body_unlike: bob

=== a location without a gate: 502, and the connection goes on however much the registry sends
--- http_config
    upstream registry { server 127.0.0.1:$TEST_NGINX_EXTRA_PORT; }
    server {
        listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT;
        location / { return 200 asked; }
        location = /v2/_catalog { root $TEST_NGINX_HTML_DIR; }
    }
--- config
    location / {
        registry_auth "Registry";
        try_files /none @open;
    }
    location @open { proxy_pass http://registry; }
--- user_files eval
">>> v2/_catalog\n" . main::names(map { "bob/secret$_" } 1 .. 50_000)
--- login: alice:secret
--- pipelined_requests eval
[ "GET /v2/_catalog", "GET /v2/alice/app/tags/list", "GET /v2/_catalog" ]
--- error_code eval
[ 502, 200, 502 ]
--- response_body_unlike: bob

=== the same where answers are not buffered
--- http_config
    upstream registry { server 127.0.0.1:$TEST_NGINX_EXTRA_PORT; }
    server {
        listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT;
        location / { return 200 asked; }
        location = /v2/_catalog { root $TEST_NGINX_HTML_DIR; }
    }
--- config
    proxy_buffering off;
    location / {
        registry_auth "Registry";
        try_files /none @open;
    }
    location @open { proxy_pass http://registry; }
--- user_files eval
">>> v2/_catalog\n" . main::names(map { "bob/secret$_" } 1 .. 50_000)
--- login: alice:secret
--- pipelined_requests eval
[ "GET /v2/_catalog", "GET /v2/alice/app/tags/list", "GET /v2/_catalog" ]
--- error_code eval
[ 502, 200, 502 ]
--- response_body_unlike: bob

=== the registry's own refusal has its type, its status and its Retry-After, and no other header of it
--- http_config eval
Harness::gate_http()
--- backend
status: 503
header: Content-Type: application/json; charset=utf-8
header: Retry-After: 7
header: ETag: "all"
header: Link: </v2/_catalog?last=bob/secret>; rel="next"
header: Set-Cookie: a=b
body: {"errors":[]}
--- login: alice:secret
--- request
GET /v2/_catalog
--- error_code: 503
--- response_headers
Content-Type: application/json; charset=utf-8
Retry-After: 7
Docker-Distribution-Api-Version: registry/2.0
Content-Length: 13
!ETag
!Link
!Set-Cookie
--- response_body chomp
{"errors":[]}
--- forwarded: GET /v2/_catalog?n=1000

=== a refusal that is too long is not passed on: 502
--- http_config eval
Harness::gate_http()
--- backend eval
"status: 404\nbody: " . 'x' x 100_000
--- login: alice:secret
--- request
GET /v2/_catalog
--- error_code: 502
--- oci_error: UNKNOWN

=== the registry sends its readers elsewhere: 502, and nobody is sent there
--- http_config eval
Harness::gate_http()
--- backend
status: 307
header: Location: http://elsewhere.example/v2/_catalog
--- login: alice:secret
--- request
GET /v2/_catalog
--- error_code: 502
--- oci_error: UNKNOWN
--- response_headers
!Location

=== the registry wants credentials that the gate does not have: 401, with the gate's challenge
--- http_config eval
Harness::gate_http()
--- backend
status: 401
header: WWW-Authenticate: Bearer realm="http://elsewhere.example/token"
--- login: alice:secret
--- request
GET /v2/_catalog
--- error_code: 401
--- response_headers
WWW-Authenticate: Basic realm="Registry"

=== conditions and ranges are not of the registry's catalogue: they do not go on, nor come back
--- http_config eval
Harness::gate_http()
--- backend
header: ETag: "all"
header: Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT
header: Accept-Ranges: bytes
body: {"repositories":["alice/x","b"]}
--- login: alice:secret
--- more_headers eval
[ map {"$_\nX-Other: goes on"} 'If-None-Match: *', 'If-None-Match: "all"',
  'If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT', 'If-Match: "x"',
  'If-Unmodified-Since: Mon, 01 Jan 2001 00:00:00 GMT',
  'Range: bytes=0-9', "If-Range: \"all\"\nRange: bytes=0-9", "if-none-match: *\nRANGE: bytes=1-1" ]
--- request eval
[ ("GET /v2/_catalog") x 8 ]
--- error_code: 200
--- response_body
{"repositories":["alice/x"]}
--- response_headers
!ETag
!Last-Modified
!Accept-Ranges
!Content-Range
--- backend_received_like
X-Other: goes on
--- backend_not_received eval
[ qr/^(?:if-|range:)/mi ]

=== a later page that is refused: 502
--- http_config eval
main::registry('if ($arg_last) { return 500 oops; }', '' => [ main::names('alice/app'), 1 ])
--- login: alice:secret
--- request
GET /v2/_catalog
--- error_code: 502
--- error_log
a page after the first was refused

=== what answers with other codes of success is no catalogue either
--- http_config eval
main::registry('return 206 "{\\"repositories\\":[\\"bob/secret\\"]}";')
--- login: alice:secret
--- request
GET /v2/_catalog
--- error_code: 502
--- oci_error: UNKNOWN
--- response_headers
!Link

=== no backend: 502 of nginx's own
--- http_config
    upstream registry { server 127.0.0.1:$TEST_NGINX_DEAD_PORT; }
--- login: alice:secret
--- request
GET /v2/_catalog
--- error_code: 502

=== no backend: the page that is configured for nginx's own 502
--- http_config
    upstream registry { server 127.0.0.1:$TEST_NGINX_DEAD_PORT; }
--- config eval
Harness::gate_config('error_page 502 @down;') . 'location @down { return 502 "down for once"; }'
--- login: alice:secret
--- request
GET /v2/_catalog
--- error_code: 502
--- response_body chomp
down for once

=== a page of more than a mebibyte: 502 at once, however much is still to come
--- http_config
    upstream registry { server 127.0.0.1:$TEST_NGINX_EXTRA_PORT; }
    server {
        listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT;
        location = /v2/_catalog { root $TEST_NGINX_HTML_DIR; limit_rate_after 1200k; limit_rate 100k; }
    }
--- user_files eval
">>> v2/_catalog\n" . main::names(map { "bob/secret$_" } 1 .. 200_000)
--- login: alice:secret
--- timeout: 4
--- pipelined_requests eval
[ "GET /v2/_catalog", "GET /v2/_catalog" ]
--- error_code: 502
--- response_body_unlike: bob
--- error_log
registry_auth: the registry's catalog: a page is too long

=== the same unbuffered
--- http_config
    upstream registry { server 127.0.0.1:$TEST_NGINX_EXTRA_PORT; }
    server {
        listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT;
        location = /v2/_catalog { root $TEST_NGINX_HTML_DIR; limit_rate_after 1200k; limit_rate 100k; }
    }
--- config eval
Harness::gate_config('proxy_buffering off;')
--- user_files eval
">>> v2/_catalog\n" . main::names(map { "bob/secret$_" } 1 .. 200_000)
--- login: alice:secret
--- timeout: 4
--- pipelined_requests eval
[ "GET /v2/_catalog", "GET /v2/_catalog" ]
--- error_code: 502
--- error_log
a page is too long

=== a page of names without number is read in slices, and rightly
--- http_config
    upstream registry { server 127.0.0.1:$TEST_NGINX_EXTRA_PORT; }
    server {
        listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT;
        location = /v2/_catalog { root $TEST_NGINX_HTML_DIR; }
    }
--- user_files eval
">>> v2/_catalog\n" . main::names('alice/first', (map {"x$_"} 1 .. 100_000), 'alice/last')
--- redis eval
'HSET docker-registry:user:alice ' . CORE::join ' ', map {"grant:**/y$_/** pull"} 1 .. 50
--- login: alice:secret
--- timeout: 20
--- pipelined_requests eval
[ "GET /v2/_catalog", "GET /v2/_catalog?n=1" ]
--- response_body eval
[ qq({"repositories":["alice/first","alice/last"]}\n), qq({"repositories":["alice/first"]}\n) ]

=== the registry is asked 50 times at most; a link goes on, without the name that it goes on after
--- http_config eval
main::endless()
--- login: nobody:secret
--- request
GET /v2/_catalog?n=1
--- response_body
{"repositories":[]}
--- response_headers_like
Link: </v2/_catalog\?last=%7E[A-Za-z0-9_-]{100,300}&n=1>; rel="next"
--- after
my $asked = sub { scalar(() = nginx_server()->since('access') =~ m{GET /v2/_catalog\?n=1000}g) };
main::is($asked->(), 50, 'so often');
my $first = http('GET /v2/_catalog?n=1', login => 'nobody:secret');
my ($link) = $first->{head} =~ /last=([^&]+)/;
my $next = http("GET /v2/_catalog?n=1&last=$link", login => 'nobody:secret');
main::is($next->{status}, 200, 'it goes on');
main::is($asked->(), 150, 'and as often');
main::like(nginx_server()->since('access'),
    qr{n=1000&last=secret/[0-9a-f]{32} HTTP.*n=1000&last=secret/[0-9a-f]{32} HTTP}s, 'after a name');
(my $other = $link) =~ s/(?<=%7E)(.)/$1 eq 'A' ? 'B' : 'A'/e;
main::is(http("GET /v2/_catalog?last=$_", login => 'nobody:secret')->{status}, 400, 'made up') for $other,
    '~', '~AAAA';

=== the link holds in every worker, over a reload, and with a key of one's own at other machines
--- http_config eval
"registry_auth_cache zone=links:1m;" . main::endless()
--- workers: 2
--- login: nobody:secret
--- request
GET /v2/_catalog?n=1
--- response_headers_like
Link: </v2/_catalog\?last=%7E.*
--- after
my ($link) = http('GET /v2/_catalog?n=1', login => 'nobody:secret')->{head} =~ /last=([^&]+)/;
nginx_server()->reload;
main::is(http("GET /v2/_catalog?n=1&last=$link", login => 'nobody:secret')->{status}, 200, "request $_")
    for 1 .. 4;

=== a page whose chunks are none: 502, and the connection goes on
--- http_config eval
main::registry($main::broken . 'return 200 "1\r\n{\r\nZZ\r\n";')
--- login: alice:secret
--- pipelined_requests eval
[ "GET /v2/_catalog", "GET /v2/alice/app/tags/list", "GET /v2/_catalog" ]
--- error_code eval
[ 502, 200, 502 ]
--- error_log
registry_auth: the registry's catalog: it broke off

=== the same unbuffered, over HTTP/2, and after a whole list
--- http_config eval
main::registry($main::broken . 'return 200 "1b\r\n{\"repositories\":[\"alice/x\"]}\r\nZZ\r\n";')
--- config eval
Harness::gate_config('proxy_buffering off;')
--- http2
--- login: alice:secret
--- request
GET /v2/_catalog
--- error_code: 502
--- oci_error: UNKNOWN the registry's catalog cannot be read

=== the same in a refusal
--- http_config eval
main::registry($main::broken
    . 'if ($arg_last) { return 404 "1\r\nx\r\nZZ\r\n"; } return 404 "2\r\nxy\r\n0\r\n\r\n";')
--- login: alice:secret
--- request eval
[ "GET /v2/_catalog?last=a", "GET /v2/_catalog" ]
--- error_code eval
[ 502, 404 ]

=== a registry's 408, of which nginx is to make a page, ends nobody's connection
--- http_config eval
main::registry('return 408;')
--- config eval
Harness::gate_config('proxy_intercept_errors on; error_page 408 /page;')
    . 'location = /page { return 200 page; }'
--- login: alice:secret
--- pipelined_requests eval
[ "GET /v2/_catalog", "GET /v2/alice/app/tags/list" ]
--- error_code eval
[ 502, 200 ]

=== the registry wants to speak another protocol: the client's connection is not handed to it
--- http_config eval
Harness::gate_http()
--- backend
/_catalog => status: 101
/_catalog => header: Upgrade: evil
/_catalog => body: HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Docker-Endpoints: evil.example\r\n\r\nevil
--- login: alice:secret
--- more_headers
Upgrade: evil
Connection: upgrade
--- request
GET /v2/_catalog
--- error_code: 502
--- response_body_unlike: evil
--- backend_not_received eval
[ qr/^upgrade:/mi ]

=== a registry that refuses without a body: so is the answer, and the connection goes on
--- http_config eval
main::registry($main::broken . 'if ($arg_last) { return 405 "0\r\n\r\n"; } return 403 "0\r\n\r\n";')
--- login: alice:secret
--- pipelined_requests eval
[ "GET /v2/_catalog", "GET /v2/_catalog?last=a", "GET /v2/alice/app/tags/list" ]
--- error_code eval
[ 403, 405, 200 ]

=== a page that its header shows to be none is not waited for
--- http_config eval
Harness::gate_http()
--- config eval
Harness::gate_config('proxy_read_timeout 30s;')
--- backend
/_catalog => raw: HTTP/1.1 206 Partial\r\nContent-Length: 5\r\n\r\n
/_catalog => open
/search => raw: HTTP/1.1 302 F\r\nLocation: /\r\nContent-Length: 5\r\n\r\nx
/search => open
--- login: alice:secret
--- timeout: 5
--- pipelined_requests eval
[ "GET /v2/_catalog", "GET /v1/search?q=a", "GET /v2/alice/app/tags/list" ]
--- error_code eval
[ 502, 502, 200 ]

=== a user has eight lists in the making at a time: more are 429, and others are served
--- http_config eval
Harness::gate_http()
--- backend
/_catalog => delay: 1
/_catalog => body: {"repositories":["alice/x","bob/x"]}
--- login: alice:secret
--- request
GET /v2/alice/app/tags/list
--- after
my @answer = main::at_once(('alice:secret') x 10, 'bob:secret');
my $bobs = pop @answer;
main::is_deeply([ sort map { $_->{status} } @answer ], [ (200) x 8, (429) x 2 ], 'eight');
main::is($bobs->{status}, 200, "another user's");
my ($refused) = grep { $_->{status} == 429 } @answer;
main::like($refused->{body}, qr/"TOOMANYREQUESTS","message":"too many lists at once"/, 'an OCI error');
main::like($refused->{head}, qr/^Retry-After: 1\r?$/m, 'with a time');
main::is(http('GET /v2/_catalog', login => 'alice:secret')->{status}, 200, 'then her places are free');
eval { main::at_once(('alice:secret') x 10, 0.3) };
main::is(http('GET /v2/_catalog', login => 'alice:secret')->{status}, 200,
    'as those of clients that are gone');
main::like(nginx_server()->since('access'), qr{"GET /v2/_catalog HTTP/1.1" 429}, 'it is in the log');
main::unlike(nginx_server()->since('access'), qr{alice.* 503}, 'and nothing else is');

=== a worker has 32 lists in the making at a time, of which something has come
--- http_config eval
Harness::gate_http()
--- config eval
Harness::gate_config() =~ s/proxy_pass/proxy_read_timeout 2s; proxy_pass/r
--- backend eval
'/_catalog => raw: HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n{"repositories":[""'
    . ',"a/x"' x 20_000 . '
/_catalog => open
'
--- accounts eval
CORE::join '', map {"u$_:secret\n"} 1 .. 40
--- login: u1:secret
--- request
GET /v2/u1/app/tags/list
--- after
my @status = sort map { $_->{status} } main::at_once(map {"u$_:secret"} 1 .. 40);
main::is_deeply(\@status, [ (429) x 8, (502) x 32 ], 'so many');
@status = sort map { $_->{status} } main::at_once(map {"u$_:secret"} 1 .. 32);
main::is_deeply(\@status, [ (502) x 32 ], 'again');

=== a registry that users name, and that hangs, takes half of the places: others have their lists
--- http_config eval
Harness::gate_http()
--- config eval
Harness::gate_config() =~ s/proxy_pass/proxy_read_timeout 3s; proxy_pass/r
--- backend eval
'/_catalog => body: {"repositories":["alice/x"]}
B => raw: HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n{"repositories":[""' . ',"a/x"' x 20_000 . '
B => open
'
--- accounts eval
CORE::join '', "alice:secret\n", map {"u$_:secret\n"} 1 .. 40
--- redis eval
CORE::join "\n",
    map {"HSET docker-registry:user:u$_ backends 127.0.0.1:\$TEST_NGINX_BACKEND_B_PORT"} 1 .. 40
--- login: alice:secret
--- request
GET /v2/alice/app/tags/list
--- after
my @status = sort map { $_->{status} } main::at_once(map {"u$_:secret"} 1 .. 40);
main::is_deeply(\@status, [ (429) x 24, (502) x 16 ], 'so many');
# While others hold places, half of what is left is less.
my %status;
$status{ $_->{status} }++ for main::at_once((map {"u$_:secret"} 1 .. 40), ('alice:secret') x 8);
main::is($status{200}, 8, 'lists of another registry');
main::cmp_ok($status{502}, '>=', 12, 'half of what those leave');
main::cmp_ok($status{502}, '<=', 16, 'half of all');
@status = sort map { $_->{status} } main::at_once(map {"u$_:secret"} 1 .. 16);
main::is_deeply(\@status, [ (502) x 16 ], 'again');

=== nor does one that hangs after its first page take more
--- http_config eval
Harness::gate_http()
--- backend
n=1000$ => header: Link: </v2/_catalog?last=a/x>; rel="next"
n=1000$ => body: {"repositories":["alice/x"]}
last= => delay: 3
last= => body: {"repositories":["alice/y"]}
--- accounts eval
CORE::join '', "alice:secret\n", map {"u$_:secret\n"} 1 .. 40
--- redis eval
CORE::join "\n",
    map {"HSET docker-registry:user:u$_ backends 127.0.0.1:\$TEST_NGINX_BACKEND_B_PORT"} 1 .. 40
--- login: alice:secret
--- request
GET /v2/alice/app/tags/list
--- after
my @held;
for my $user (1 .. 40) {
    push @held, main::lists(("u$user:secret") x 6);
    http('GET /v2/alice/app/tags/list', login => 'alice:secret');    # their first pages have come
}
my %status = map { $_->{status} => 1 } main::at_once(('alice:secret') x 8);
main::is_deeply(\%status, { 200 => 1 }, 'lists of another registry');
close $_ for @held;

=== a page has 30 seconds from its first byte on, and its place is free then
--- http_config eval
Harness::gate_http()
--- config eval
Harness::gate_config() =~ s/proxy_pass/proxy_read_timeout 300s; proxy_pass/r
--- backend eval
'/_catalog => raw: HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n'
    . '{"repositories":["alice/x"' . ',"a/x"' x 20_000 . '
/_catalog => open
'
--- timeout: 60
--- login: alice:secret
--- request
GET /v2/_catalog
--- error_code: 502
--- error_log
a page of it takes more than 30 seconds

=== lists for which a registry is awaited take no place of others
--- http_config eval
Harness::gate_http()
--- backend
/_catalog => delay: 1
/_catalog => body: {"repositories":["a/x"]}
--- accounts eval
CORE::join '', map {"u$_:secret\n"} 1 .. 60
--- login: u1:secret
--- request
GET /v2/u1/app/tags/list
--- after
my @status = sort map { $_->{status} } main::at_once(map {"u$_:secret"} 1 .. 60);
main::is_deeply(\@status, [ (200) x 60 ], 'all of them');

=== lists for which the next page is awaited leave most of their places to others
--- http_config eval
Harness::gate_http()
--- backend
n=1000$ => header: Link: </v2/_catalog?last=a/x>; rel="next"
n=1000$ => body: {"repositories":["u1/x","u60/x"]}
last= => delay: 1
last= => body: {"repositories":["v/x"]}
--- accounts eval
CORE::join '', map {"u$_:secret\n"} 1 .. 60
--- login: u60:secret
--- timeout: 10
--- request
GET /v2/_catalog
--- response_body
{"repositories":["u60/x"]}
--- after
my @status = sort map { $_->{status} } main::at_once(map {"u$_:secret"} 1 .. 60);
main::is_deeply(\@status, [ (200) x 60 ], 'all of them');

=== many lists that are long are read in turn, and each is right
--- http_config
    upstream registry { server 127.0.0.1:$TEST_NGINX_EXTRA_PORT; }
    server {
        listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT;
        location / { return 200 asked; }
        location = /v2/_catalog { root $TEST_NGINX_HTML_DIR; }
    }
--- user_files eval
">>> v2/_catalog\n" . main::names('u1/first', (map {"x$_"} 1 .. 60_000), map {"u$_/last"} 1 .. 20)
--- accounts eval
CORE::join '', map {"u$_:secret\n"} 1 .. 20
--- login: u1:secret
--- timeout: 20
--- request
GET /v2/_catalog
--- response_body
{"repositories":["u1/first","u1/last"]}
--- after
my @answer = main::at_once(map {"u$_:secret"} 2 .. 20);
main::is_deeply([ map { $_->{body} } @answer ], [ map { qq({"repositories":["u$_/last"]}\n) } 2 .. 20 ],
    'theirs');

=== balance=turn: all pages are of the same backend, as each has all
--- http_config eval
my $http = main::registry('', '' => [ main::names('alice/app'), 1 ],
    'alice/app' => [ main::names('alice/b'), 0 ]);
$http =~ s/upstream registry \{.*?\}/upstream registry { registry_auth_backends balance=turn; }/r
--- redis
HSET docker-registry:user:alice \
  backends "127.0.0.1:$TEST_NGINX_EXTRA_PORT 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT"
--- login: alice:secret
--- request eval
[ ("GET /v2/_catalog") x 4 ]
--- response_body
{"repositories":["alice/app","alice/b"]}

=== a registry that knows no pages, unbuffered
--- http_config eval
Harness::gate_http()
--- config eval
Harness::gate_config('proxy_buffering off;')
--- backend eval
'body: ' . main::names(map({"bob/app$_"} 1 .. 20_000), 'alice/last')
--- login: alice:secret
--- request eval
[ ("GET /v2/_catalog") x 2 ]
--- response_body
{"repositories":["alice/last"]}

=== the same through a temporary file
--- http_config eval
Harness::gate_http()
--- config eval
Harness::gate_config('proxy_buffer_size 4k; proxy_buffers 2 4k; proxy_busy_buffers_size 4k;')
--- backend eval
'body: ' . main::names(map({"bob/app$_"} 1 .. 20_000), 'alice/last')
--- login: alice:secret
--- request eval
[ ("GET /v2/_catalog") x 2 ]
--- response_body
{"repositories":["alice/last"]}

=== a request with a body is none for a catalogue
--- login: alice:secret
--- request
GET /v2/_catalog
n=5
--- error_code: 404

=== satisfy all: other modules of the access phase must agree
--- config eval
Harness::gate_config('auth_request /deny;') . 'location = /deny { internal; return 403; }'
--- login: alice:secret
--- request
GET /v2/_catalog
--- error_code: 403

=== satisfy all, and they do agree
--- config eval
Harness::gate_config('auth_request /ok;') . 'location = /ok { internal; return 204; }'
--- login: alice:secret
--- request
GET /v2/_catalog
--- response_body
{"repositories":["alice/app","alice/zoo","team/app"]}

=== logged with its user
--- login: alice:secret
--- request
GET /v2/_catalog
--- access_log
- alice [
"GET /v2/_catalog HTTP/1.1" 200 54
