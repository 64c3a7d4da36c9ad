# registry_auth_token; distribution's docs/spec/auth/token.md and
# The user is verified as anywhere, what is granted is what was asked
# for and is allowed, and nothing of it may be kept by anybody between.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;
use Harness::Token;
use Time::HiRes ();

our $TYPE = "Content-Type: application/x-www-form-urlencoded\n";

# "repository:a/b:pull ...", sorted: what a token in an answer is good for.
sub granted {
    my ($answer) = @_;
    return "$answer->{status}" if $answer->{status} != 200;
    my (undef, $claims) = map { MIME::Base64::decode_base64url($_) } split /\./, json($answer)->{token};
    return join ' ', sort map { "$_->{type}:$_->{name}:" . join ',', @{ $_->{actions} } } @{
        JSON::PP::decode_json($claims)->{access} };
}

sub posted { return http(form(@_), headers => $TYPE) }

# A form in so many pieces with a pause between them.
sub slowly {
    my ($text, @at) = @_;
    my $request = Harness::Client::parse_request($text, $TYPE, undef, 0);
    my $bytes   = Harness::Client::bytes($request);
    my $socket  = Harness::Client::connect_to(Harness::expand('$TEST_NGINX_SERVER_PORT'));
    my $from    = 0;
    for my $at ((map { length($bytes) - length($request->{body}) + $_ } @at), length $bytes) {
        Time::HiRes::sleep(0.05) if $from;
        Harness::Client::write_all($socket, substr $bytes, $from, $at - $from);
        $from = $at;
    }
    return (Harness::Client::receive($socket, Harness::Valgrind::timeout(5), 'POST'))[0];
}

# The same, in chunks that come one after the other.
sub in_chunks {
    my ($text) = @_;
    my ($line, $body) = split /\n/, $text, 2;
    my @chunks = map { sprintf "%x\r\n%s\r\n", length, $_ } unpack '(a3000)*', $body;
    my $head = join "\r\n", "$line HTTP/1.1", 'Host: a', 'Connection: close', split(/\n/, $TYPE),
        'Transfer-Encoding: chunked', '', '';
    my $port = Harness::expand('$TEST_NGINX_SERVER_PORT');
    return (Harness::Client::raw($port, [ $head, @chunks, "0\r\n\r\n" ], Harness::Valgrind::timeout(5),
        0.01))[0];
}

our @LOGIN = (grant_type => 'password', service => 'registry', username => 'alice', password => 'secret');
# The endpoint, in a server whose other directives get what it gets, and a log with the body.
our $BESIDE_LOG = "    log_format body '<\$request_body> <\$request_body_file> \$content_length';\n";
our $BESIDE = <<'EOC';
        mirror /copy;
        error_page 400 401 413 = @app;
        access_log $TEST_NGINX_SERVROOT/bodies.log body;
        proxy_set_header Authorization "";
        location = /copy { internal; mirror off; proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
        location @done { mirror off; proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
        location @app { mirror off; proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
EOC

# Nothing of a form has come to the backend, which got this many requests, or to the log.
sub nowhere {
    my ($requests) = @_;
    my $log  = Harness::expand('$TEST_NGINX_SERVROOT/bodies.log');
    my $text = join "\n", map { $_->{text} } @{ Harness::backend()->received };
    equal(scalar(() = $text =~ /^POST /mg), $requests, 'requests that nginx makes beside');
    equal($text =~ /^(.*(?:password|refresh_token|secret).*)$/m ? $1 : '', '', 'what they tell');
    equal($text =~ /^(Content-Length: [1-9].*|Transfer-Encoding.*)$/mi ? $1 : '', '', 'what they announce');
    equal(join('', grep { !/^<-> <-> (?:0|-)$/ } split /^/, Harness::slurp($log)), '', 'the log');
}

# As `nowhere`, of forms that nginx gives up: it may send on as many bytes that say nothing.
sub untold {
    my $text = join "\n", (map { $_->{text} } @{ Harness::backend()->received }),
        Harness::slurp(Harness::expand('$TEST_NGINX_SERVROOT/bodies.log'));
    equal($text =~ /^(.*(?:password|alice|secret).*)$/m ? $1 : '', '', 'what they say');
}

our $READY = 'GET /token?service=registry&scope=repository:alice/app:pull';

defaults(
    http_config => token_http(),
    config      => token_config(),
    accounts    => "alice:secret\nbob:secret\nwarm:secret\n",
);
run_tests();

__DATA__
=== GET with Basic: token and access_token are one, expires_in and issued_at as the specification has them
--- login: alice:secret
--- request eval
$main::READY
--- response_headers
Content-Type: application/json
Cache-Control: no-store
Pragma: no-cache
X-Result: granted
X-User: alice
!WWW-Authenticate
--- response_body_like: ^\{"token":"([^"]+)","access_token":"\1","expires_in":60,"issued_at":"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d)"\}\n?$
--- after
my $answer = http($READY, login => 'alice:secret');
equal(main::granted($answer), 'repository:alice/app:pull', 'granted');
equal(with_token(json($answer)->{token}, 'GET /v2/alice/app/tags/list')->{status}, 200, 'and good');

=== registry_auth_token ttl=: 60 seconds at least, an hour where nothing is said
--- config eval
main::token_config('', 'registry_auth_token;')
--- login: alice:secret
--- request eval
$main::READY
--- response_body_like: "expires_in":3600,

=== what is issued is what RFC 7519 and the tests of the module say, byte by byte but for the times
--- after
my ($header, $claims, $signature) = split /\./, json(http($READY, login => 'alice:secret'))->{token};
my $said = JSON::PP::decode_json(MIME::Base64::decode_base64url($claims));
my $own  = claims(scope => 'repository:alice/app:pull', exp => $said->{nbf} + 60, nbf => $said->{nbf});
equal(JSON::PP->new->canonical->encode($said), JSON::PP->new->canonical->encode($own), 'the claims');
equal("$header.$claims.$signature",
    compact(map({ MIME::Base64::decode_base64url($_) } $header, $claims), $KEY), 'the signature');
equal(abs(time - $said->{nbf}) < 5 ? 1 : 0, 1, 'the time');

=== anonymous: without credentials, and with empty ones
--- redis
HSET docker-registry:group:public grant:public/** pull
--- login eval
[ "", ":" ]
--- request eval
[ ('GET /token?scope=repository:public/a:pull,push&scope=repository:alice/x:pull') x 2 ]
--- response_headers
X-Result: anonymous
!X-User
--- after
equal(main::granted(ask($_, 'repository:public/a:pull,push', 'repository:alice/x:pull', 'registry:catalog:*',
    'registry:images:pull')),
    'repository:public/a:pull', "'$_'") for '', ':';

=== a wrong password is 401 with a Basic challenge, for Bearer would send in circles
--- login eval
[ "alice:wrong", "nobody:secret" ]
--- request eval
[ ("GET /token?service=registry") x 2 ]
--- error_code: 401
--- oci_error: UNAUTHORIZED incorrect username or password
--- response_headers
WWW-Authenticate: Basic realm="Registry"
Cache-Control: no-store

=== malformed credentials are 401, and so is any token: no token gets another one
--- request eval
[ ("GET /token?service=registry") x 4 ]
--- more_headers eval
[ map {"Authorization: $_"} 'Basic !!', 'Bearer ' . main::signed(scope => 'repository:alice/app:pull'),
  'Bearer ' . main::signed(kind => 'refresh'), 'Negotiate x' ]
--- error_code: 401
--- response_headers
WWW-Authenticate: Basic realm="Registry"

=== a Bearer header that the registry goes by is refused at the endpoint even so
--- request eval
[ "GET /v2/", "GET /token", "GET /v2/", "GET /token" ]
--- more_headers eval
main::bearer(main::signed())
--- error_code eval
[ 200, 401, 200, 401 ]

=== wrong passwords are counted, and are 429 then, by GET and by POST
--- http_config eval
main::token_http() . "    registry_auth_failures 3 60s;\n"
--- restart
--- after
equal(ask("alice:wrong$_")->{status}, 401, "GET wrong$_") for 1 .. 2;
equal(main::posted(@LOGIN[0 .. 5], password => 'wrong3')->{status}, 401, 'POST wrong3');
my $answer = main::posted(@LOGIN[0 .. 5], password => 'wrong4');
equal($answer->{status}, 429, 'POST wrong4');
equal(header($answer, 'Retry-After') =~ /^\d+$/ ? 1 : 0, 1, 'Retry-After');
equal(header($answer, 'Cache-Control'), 'no-store', 'Cache-Control');
equal(ask('alice:wrong5')->{status}, 429, 'GET wrong5');
equal(asked('alice:wrong6') =~ s/ .*//r, 429, 'the registry, too');
equal(ask('bob:secret')->{status}, 200, 'bob');
equal(with_token(signed())->{status}, 200, 'who has a token has not guessed it');

=== scope: several, in one value or in many; twice the same; nobody's are left out, and what is malformed
--- redis
HSET docker-registry:user:alice grant:team/* pull
--- after
for (
    [ 'none', '' => [] ],
    [ 'several', 'repository:alice/a:pull,push repository:team/a:pull' =>
      [ 'repository:alice/a:pull,push', 'repository:team/a:pull' ] ],
    [ 'space separated', 'repository:alice/a:pull repository:team/a:pull' =>
      ['repository:alice/a:pull repository:team/a:pull'] ],
    [ 'more than allowed', 'repository:team/a:pull' => ['repository:team/a:pull,push,delete'] ],
    [ 'all', 'repository:alice/a:pull,push,delete repository:team/a:pull' =>
      [ 'repository:alice/a:*', 'repository:team/a:*' ] ],
    [ 'the same in parts', 'repository:alice/a:pull,push' =>
      [ 'repository:alice/a:pull', 'repository:alice/a:push' ] ],
    [ 'with a class', 'repository:alice/a:pull' => ['repository(plugin):alice/a:pull'] ],
    [ 'unknown actions', 'repository:alice/a:pull' => ['repository:alice/a:pull,metadata_read'] ],
    [ "nobody's", '' => [ 'repository:bob/a:pull', 'repository:bob/b:*' ] ],
    [ 'malformed', 'repository:alice/a:pull' => [ 'repository:alice/a:pull', 'x', ':::',
        'repository:Alice/a:pull', 'repository:alice/../bob/a:pull',
        'repository:alice/*:pull', 'repository:**:*', 'repository:alice/a:', 'plugin:alice/a:pull',
            'repository:alice/b', "repository:alice/a\0:pull" ] ],
    [ 'a port in the name', '' => ['repository:localhost:5000/alice/a:pull'] ],
) {
    my ($name, $expected, $scope) = @$_;
    equal(main::granted(ask('alice:secret', @$scope)), $expected, $name);
}

=== grants are what is asked for and allowed: denials, groups, public, own namespace off, catalogue and images
--- redis
HSET docker-registry:user:alice groups team grant:!alice/secret/** * grant:!alice/ro push,delete
HSET docker-registry:group:team grant:team/* pull,push grant:!team/x push
HSET docker-registry:group:public grant:library/* pull
--- after
equal(main::granted(ask('alice:secret',
    map {"repository:$_:*"} qw(alice/a alice/secret/x alice/ro team/a team/x library/a bob/a))),
    join(' ', 'repository:alice/a:pull,push,delete', 'repository:alice/ro:pull', 'repository:library/a:pull',
        'repository:team/a:pull,push', 'repository:team/x:pull'),
    'denials, groups, public');
equal(main::granted(ask('alice:secret', 'registry:catalog:*', 'registry:images:pull,push')),
    'registry:catalog:* registry:images:pull,push', 'the registry');

=== registry_auth_own_namespace off, registry_auth_catalog off: nothing of them is granted
--- config eval
"registry_auth_own_namespace off; registry_auth_catalog off;" . main::token_config()
--- after
equal(main::granted(ask('alice:secret', 'repository:alice/a:*', 'registry:catalog:*')), '', 'nothing');

=== more than 64 scopes are refused, not cut off, and the limit is named
--- login: alice:secret
--- request eval
[ map { 'GET /token?' . main::query(scope => [ map {"repository:alice/a$_:pull"} 1 .. $_ ]) } 64, 65 ]
--- error_code eval
[ 200, 400 ]
--- oci_error eval
[ undef, "UNSUPPORTED ^more than 64 scopes\$" ]

=== service= of another is 400, none is accepted; account= is who is meant; twice is refused
--- login: alice:secret
--- request eval
[ map {"GET /token$_"} '', '?', '?service=', '?service=registry', '?service=ReGistry', '?account=alice',
  '?account=', '?client_id=docker&x=1&x=2',
  '?service=other', '?service=registry&service=registry', '?account=bob', '?account=alice&account=bob',
  '?offline_token=true&offline_token=false' ]
--- error_code eval
[ (200) x 8, (400) x 5 ]
--- oci_error eval
[ (undef) x 8, "UNSUPPORTED unknown service", "UNSUPPORTED twice", "UNSUPPORTED account is not the user",
  ("UNSUPPORTED twice") x 2 ]
--- response_headers: Cache-Control: no-store

=== offline_token: a refresh token for a user, none for the anonymous
--- after
my $ask = sub {
    http('GET /token?service=registry&offline_token=true&scope=repository:alice/a:pull', login => $_[0]) };
equal(json($ask->(''))->{refresh_token}, undef, 'the anonymous');
equal(json(ask('alice:secret'))->{refresh_token}, undef, 'not asked for');
my $refresh = json($ask->('alice:secret'))->{refresh_token};
my $answer = main::posted(grant_type => 'refresh_token', service => 'registry', refresh_token => $refresh,
    scope => 'repository:alice/b:pull repository:bob/b:pull');
equal(main::granted($answer), 'repository:alice/b:pull', 'it is good for what alice may');
equal(json($answer)->{refresh_token}, undef, 'while it is young there is no other');
equal(with_token(json($answer)->{token}, 'GET /v2/alice/b/tags/list')->{status}, 200,
    'for a token that is good');
equal(with_token($refresh)->{status}, 401, 'and itself not at the registry');
my $old = signed(kind => 'refresh', exp => time + 30 * 86_400);
my $next = json(main::posted(grant_type => 'refresh_token', refresh_token => $old))->{refresh_token};
equal(main::granted(main::posted(grant_type => 'refresh_token', refresh_token => $next,
    scope => 'repository:alice/b:pull')), 'repository:alice/b:pull', 'an old one gets another');

=== no refresh token where the key goes with the zone
--- http_config eval
Harness::Zone::zone_http('zone=auth:1m')
--- login: alice:secret
--- request
GET /token?service=registry&offline_token=true
--- response_body_unlike: refresh_token

=== POST: password, as containerd and docker send it
--- more_headers eval
$main::TYPE
--- request eval
main::form(client_id => 'containerd-client', @main::LOGIN,
    scope => 'repository:alice/a:pull,push repository:bob/a:pull', access_type => 'offline')
--- response_body_like: "refresh_token":"
--- response_headers
Cache-Control: no-store
X-User: alice
--- after
equal(main::granted(main::posted(@LOGIN, scope => [ 'repository:alice/a:pull', 'repository:alice/b:pull' ])),
    'repository:alice/a:pull repository:alice/b:pull', 'several scopes');

=== POST: what is in a form is decoded once
--- accounts eval
"alice:p\@ss+w%2Brd &=;\n"
--- more_headers eval
$main::TYPE
--- request eval
[ main::form(@main::LOGIN[0 .. 5], password => 'p@ss+w%2Brd &=;'), "POST /token\ngrant_type=password&username=alice&password=p%40ss%2Bw%252Brd+%26%3D%3B",
  "POST /token\ngrant_type=password&username=alice&password=p%40ss%2Bw%2Brd+%26%3D%3B" ]
--- error_code eval
[ 200, 200, 401 ]

=== POST: wrong, empty and impossible credentials are 401
--- more_headers eval
$main::TYPE
--- request eval
[ map { main::form(grant_type => 'password', @$_) } [ username => 'alice', password => 'wrong' ],
  [ username => 'alice' ], [ password => 'secret' ],
  [], [ username => 'alice', password => '' ], [ username => 'alice:secret', password => 'x' ],
  [ username => "alice\0", password => 'secret' ],
  [ username => 'alice', password => "secret\0x" ], [ username => 'alice', password => "secret\r\n" ],
  [ username => 'alice', password => 'x' x 4000 ] ]
--- error_code: 401
--- oci_error: UNAUTHORIZED
--- response_headers
WWW-Authenticate: Basic realm="Registry"
Cache-Control: no-store

=== POST: what is no form, and what is there twice, is 400
--- more_headers eval
[ $main::TYPE, "Content-Type: application/x-www-form-urlencoded ; charset=utf-8\n", "",
  "Content-Type: application/json", "Content-Type: multipart/form-data; boundary=x", ($main::TYPE) x 12 ]
--- request eval
[ (main::form(@main::LOGIN)) x 5, map({"POST /token\n$_"} '', 'x', '%', '&&=&'), map { main::form(@$_) }
  [ @main::LOGIN[2 .. 7] ], [ @main::LOGIN[2 .. 7], grant_type => 'client_credentials' ],
      [ @main::LOGIN, grant_type => 'password' ], [ @main::LOGIN, username => 'bob' ],
  [ @main::LOGIN, password => 'secret' ], [ @main::LOGIN, refresh_token => 'x' ],
  [ grant_type => 'refresh_token' ], [ @main::LOGIN[0, 1, 4 .. 7], service => 'other' ] ]
--- error_code eval
[ 200, 200, (400) x 15 ]
--- oci_error eval
[ undef, undef, ("UNSUPPORTED") x 15 ]

=== POST: a refresh token that is none: 401
--- more_headers eval
$main::TYPE
--- request eval
[ map { main::form(grant_type => 'refresh_token', refresh_token => $_) } '', 'x', main::signed(),
  main::signed(kind => 'refresh', exp => time - 1),
  main::signed(kind => 'refresh', service => 'other'), main::signed(kind => 'refresh', prefix => 'other'),
  main::signed(kind => 'refresh', user => 'nobody'),
  main::signed(kind => 'refresh', stored => 'other'), main::signed(kind => 'refresh', key => 'y' x 32),
  main::signed(kind => 'refresh', exp => time + 91 * 86_400) ]
--- error_code: 401
--- response_headers
WWW-Authenticate: Basic realm="Registry"

=== POST: a form and a header are one too many
--- login eval
[ "alice:secret", "bob:secret", ":" ]
--- more_headers eval
$main::TYPE
--- request eval
[ (main::form(@main::LOGIN)) x 3 ]
--- error_code: 400
--- oci_error: UNSUPPORTED

=== POST: in chunks, as podman sends it; too large is 400, and nginx's own 413 where it reads no further
--- timeout: 3
--- raw_request eval
my ($line, $type) = ("POST /token HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", $main::TYPE =~ s/\n/\r\n/r);
my $body = main::form(@main::LOGIN) =~ s/^.*\n//r;
$line . $type . "Transfer-Encoding: chunked\r\n\r\n" . sprintf("%x\r\n%s\r\n0\r\n\r\n", length $body, $body)
--- error_code: 200
--- after
my %status = (4000 => 200, 7900 => 200, 8192 => 400, 100_000 => 413);
equal(main::posted(@LOGIN, x => 'y' x $_)->{status}, $status{$_}, "of $_ bytes and some")
    for sort keys %status;
equal(main::in_chunks(form(@LOGIN, x => 'y' x $_))->{status}, $status{$_}, "of $_ bytes and some, in chunks")
    for sort keys %status;

=== POST: a body that comes in parts
--- after
equal(main::granted(main::slowly(form(@LOGIN, scope => 'repository:alice/a:pull'), @$_)),
    'repository:alice/a:pull', "at @$_") for [1], [ 10, 20, 90 ], [0];
equal(main::slowly(form(@LOGIN, x => 'y' x 3000), 1000)->{status}, 200, 'a long one');

=== POST: it lies in memory, whatever client_body_buffer_size is
--- config eval
'client_body_buffer_size 1k;' . main::token_config()
--- more_headers eval
$main::TYPE
--- request eval
[ map { main::form(@main::LOGIN, x => 'y' x $_) } 100, 3000, 7900 ]

=== POST: other modules of the access phase must agree, and are asked once the form was read
--- config eval
main::token_config('', 'registry_auth_token; auth_request /check;')
    . 'location = /check { if ($request_uri ~ deny) { return 403; } return 204; }'
--- more_headers eval
$main::TYPE
--- request eval
[ main::form(@main::LOGIN), main::form(@main::LOGIN) =~ s{/token}{/token?deny=1}r,
  main::form(@main::LOGIN[0 .. 5], password => 'wrong') ]
--- error_code eval
[ 200, 403, 401 ]
--- response_body_unlike eval
[ undef, 'token"', 'token"' ]

=== POST: a client that goes away in the middle
--- abort
--- timeout: 0.1
--- raw_request
--- request eval
my $text = main::form(@main::LOGIN);
"$text\n"
--- more_headers eval
$main::TYPE . "Content-Length: 4000"
--- error_code: 0
--- after
equal(ask('alice:secret')->{status}, 200, 'the next one is served');

=== POST: what follows on the connection is read as a request of its own
--- more_headers eval
[ (map { $main::TYPE . $_ } '', '', 'Expect: 100-continue'), undef ]
--- pipelined_requests eval
[ main::form(@main::LOGIN), main::form(@main::LOGIN[0 .. 5], password => 'wrong'), main::form(@main::LOGIN),
  $main::READY ]
--- error_code eval
[ 200, 401, 200, 200 ]

=== POST: nothing follows one that is refused: no part of its body is taken for a request
--- more_headers eval
[ $main::TYPE . 'Authorization: Basic Og==', undef ]
--- pipelined_requests eval
[ "POST /token\nGET /token HTTP/1.1\r\nHost: a\r\n\r\n", $main::READY ]
--- error_code eval
[ 400, 0 ]

=== POST: a form goes nowhere else: mirror, post_action, error_page and logs find an empty body
--- http_config eval
main::token_http() . $main::BESIDE_LOG
--- config eval
$main::BESIDE . main::token_config('', 'registry_auth_token; post_action @done;')
--- more_headers eval
[ $main::TYPE, $main::TYPE, '', $main::TYPE . 'Authorization: Basic Og==' ]
--- pipelined_requests eval
my $right = main::form(@main::LOGIN);
[ $right, main::form(@main::LOGIN[0 .. 5], password => 'secret-but-wrong'), $right =~ s/^POST/GET/r, $right ]
--- error_code: 200
--- after
main::in_chunks(form(@LOGIN));
main::slowly(form(@LOGIN), 10);
main::in_chunks(form(@LOGIN[0 .. 5], password => 'secret' x 1500));
main::nowhere(2 + 1 + 0 + 1 + 2 + 2 + 1);

=== POST over HTTP/2: a form goes nowhere else
--- http_config eval
main::token_http() . $main::BESIDE_LOG
--- config eval
$main::BESIDE . main::token_config('', 'registry_auth_token; post_action @done;')
--- http2
--- more_headers eval
$main::TYPE
--- request eval
[ main::form(@main::LOGIN), main::form(@main::LOGIN[0 .. 5], password => 'secret-but-wrong') ]
--- error_code eval
[ 200, 200 ]
--- after
main::nowhere(2 + 1);

=== POST: nor does a form whose end never comes, or that nginx refuses once its begin has come
--- http_config eval
main::token_http() . $main::BESIDE_LOG
--- config eval
$main::BESIDE
    . main::token_config('', 'registry_auth_token; post_action @done; client_body_timeout 500ms;')
--- after
my ($line, $body) = split /\n/, form(@LOGIN, x => 'y' x 100), 2;
my $head = join "\r\n", "$line HTTP/1.1", 'Host: a', split(/\n/, $TYPE), 'Transfer-Encoding: chunked', '',
    sprintf("%x", length $body), "$body\r\n";
# What comes last: nothing for half a second, or what nginx refuses.
for my $end ('', "zz\r\n", sprintf("%x\r\n", 20_000)) {
    my $before = @{ Harness::backend()->received };
    my $socket = Harness::Client::connect_to(expand('$TEST_NGINX_SERVER_PORT'));
    Harness::Client::write_all($socket, $head);
    equal(ask('alice:secret')->{status}, 200, 'it is read');
    Harness::Client::write_all($socket, $end);
    soon("after '$end'", 1, sub { @{ Harness::backend()->received } > $before ? 1 : 0 }, 5);
}
main::untold();

=== POST over HTTP/2: nor does one whose client goes away
--- http_config eval
main::token_http() . $main::BESIDE_LOG
--- config eval
$main::BESIDE
    . main::token_config('', 'registry_auth_token; post_action @done; client_body_timeout 500ms;')
--- after
my ($log, $socket) = (expand('$TEST_NGINX_SERVROOT/bodies.log'),
    Harness::Client::connect_to(expand('$TEST_NGINX_H2_PORT')));
my $before = -s $log // 0;
my $text = sub { my ($s) = @_; return chr(length $s) . $s };
my $frame = sub { my ($type, $flags, $stream, $payload) = @_;
    return substr(pack('N', length $payload), 1) . pack('CCN', $type, $flags, $stream) . $payload };
my %header = (':method' => 'POST', ':path' => '/token', ':scheme' => 'http', ':authority' => 'a',
    'content-type' => 'application/x-www-form-urlencoded');
my $headers = join '', map { "\0" . $text->($_) . $text->($header{$_}) } sort keys %header;
Harness::Client::write_all($socket, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" . $frame->(4, 0, 0, '')
    . $frame->(1, 4, 1, $headers) . $frame->(0, 0, 1, form(@LOGIN) =~ s/^.*\n//r));
soon('it is given up', 1, sub { -s $log > $before ? 1 : 0 }, 5);
main::untold();

=== a name of any characters
--- accounts eval
"j\xc3\xbcrgen:secret\nx\"y\\z:secret\n"
--- after
for my $user ("j\xc3\xbcrgen", 'x"y\\z') {
    equal(with_token(token("$user:secret"))->{status}, 200, $user);
    equal(main::posted(@LOGIN[0 .. 3], username => $user, password => 'secret', account => $user)->{status},
        200, "$user, by a form");
}

=== a token that would be too long to be used is not issued
--- login: alice:secret
--- request eval
[ map { my $n = $_; 'GET /token?' . main::query(
  scope => [ map { "repository:alice/$_" . 'x' x $n . ':pull' } 10 .. 59 ]) } 10, 90 ]
--- error_code eval
[ 200, 400 ]
--- oci_error eval
[ undef, "UNSUPPORTED what the scopes grant takes more than 5000 bytes" ]
--- response_headers: Cache-Control: no-store

=== many scopes, and many grants with many stars for each: others are served between
--- users
alice:secret
bob:secret
--- redis eval
# Each has all pieces of the names, and none matches, as one of its stars would have to match a slash.
CORE::join "\n", map {
    my $bits = $_;
    'HSET docker-registry:user:alice grant:team'
        . CORE::join('', map { ('a' .. 'l')[$_] . ($bits >> $_ & 1 ? '*' : '') } 0 .. 11) . '*uv pull'
} 0 .. 2047
--- request
GET /v2/
--- error_code: 401
--- after
my @scope = map {"repository:teamabcdefghijkl/x$_/uv:pull"} 1 .. 61;
@scope = ('repository:alice/first:pull', @scope[ 0 .. 30 ], 'repository:alice/middle:push',
    @scope[ 31 .. 60 ], 'repository:alice/last:*');
my $port   = Harness::expand('$TEST_NGINX_SERVER_PORT');
my $uri    = '/token?' . main::query(service => 'registry', scope => \@scope);
my @socket = map { Harness::Client::connect_to($port) } 1 .. 4;
my $bytes  = Harness::Client::bytes(Harness::Client::parse_request("GET $uri", '', 'alice:secret', 0));
Harness::Client::write_all($_, $bytes) for @socket;
# One of the clients goes away.
close pop @socket;
my $before = 0;
until (IO::Select->new(@socket)->can_read(0)) {
    Test::More::is(main::http('GET /token?service=registry', login => 'bob:secret')->{status}, 200,
        'another user') if !$before++;
    main::http('GET /token?service=registry', login => 'bob:secret');
}
Test::More::cmp_ok($before, '>', 20, 'of others that were served first');
my @answer = map { (Harness::Client::receive($_, Harness::Valgrind::timeout(20), 'GET'))[0] } @socket;
Test::More::is(main::granted($_),
    'repository:alice/first:pull repository:alice/last:pull,push,delete repository:alice/middle:push',
    'granted') for @answer;

=== POST over HTTP/2
--- http2
--- more_headers eval
$main::TYPE
--- request eval
[ main::form(@main::LOGIN), main::form(@main::LOGIN[0 .. 5], password => 'wrong'),
  main::form(grant_type => 'x') ]
--- error_code eval
[ 200, 401, 400 ]

=== HEAD is GET without a body; other methods are refused
--- login: alice:secret
--- request eval
[ map {"$_ /token?service=registry"} qw(HEAD PUT DELETE PATCH OPTIONS FOO) ]
--- error_code eval
[ 200, (404) x 5 ]
--- response_headers: Cache-Control: no-store

=== a locked account is 401, with the right password, by GET, POST and refresh token, first and again
--- redis eval
'HSET docker-registry:user:alice password !' . Harness::Users::sha('secret')
--- after
for my $time ('first', 'again') {
    equal(ask('alice:secret')->{status}, 401, "GET, $time");
    equal(main::posted(@LOGIN)->{status}, 401, "POST, $time");
    equal(main::posted(grant_type => 'refresh_token', refresh_token => signed(kind => 'refresh'))->{status},
        401, "refresh, $time");
}

=== while Redis is gone: 503 and Retry-After, no challenge; a known one is served where stale= is set
--- http_config eval
main::token_http('zone=auth:1m stale=60s')
    . '    registry_auth_redis redis://127.0.0.1:$TEST_NGINX_REDIS_PORT timeout=400ms connect_timeout=400ms;'
--- after
in_each_worker('alice:secret');
redis_server()->stop;
soon('Redis is gone', 503, sub { ask('bob:secret')->{status} }, 5);
my $answer = ask('bob:secret');
equal(header($answer, 'WWW-Authenticate'), '', 'no challenge');
equal(header($answer, 'Retry-After'), 1, 'Retry-After');
equal(header($answer, 'Cache-Control'), 'no-store', 'Cache-Control');
$answer = ask('alice:secret', 'repository:alice/a:pull');
equal(main::granted($answer) . header($answer, 'X-Cache'), 'repository:alice/a:pullSTALE', 'who is known');

=== satisfy any: who was refused and is let in all the same gets no token
--- config eval
main::token_config('', 'registry_auth_token; satisfy any; auth_request /ok;')
    . "location = /ok { return 204; }\n"
--- redis eval
'HSET docker-registry:user:bob password !' . Harness::Users::sha('secret')
--- login eval
[ "alice:secret", "alice:wrong", "bob:secret", "bob:secret", "alice:secret" ]
--- request eval
[ ('GET /token') x 4, 'GET /token?account=bob' ]
--- error_code_like eval
[ 200, (qr/^40[013]$/) x 4 ]
--- response_body_unlike eval
[ undef, (qr/token"/) x 4 ]
