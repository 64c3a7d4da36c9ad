# registry_auth_bearer; rules 11, 13 and 16:
# one challenge that says where to get which token, Basic beside it on every
# request, and what a good token is good for in every way nginx can be asked.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;
use Harness::Token;

our $DIGEST = 'sha256:' . 'ab' x 32;

# What is asked for without credentials, and the scope of the challenge.
my @CHALLENGES = (
    [ '/v2/ names no scope: any token will do', 'GET /v2/',  '' ],
    [ '/v2 neither',                            'HEAD /v2',  '' ],
    [ 'a manifest',         'GET /v2/alice/app/manifests/latest',             'repository:alice/app:pull' ],
    [ 'its HEAD',           'HEAD /v2/alice/app/manifests/latest',            'repository:alice/app:pull' ],
    [ 'a blob',             "GET /v2/alice/app/blobs/$DIGEST",                'repository:alice/app:pull' ],
    [ 'tags',               'GET /v2/alice/app/tags/list?n=5',                'repository:alice/app:pull' ],
    [ 'referrers',          "GET /v2/alice/app/referrers/$DIGEST",            'repository:alice/app:pull' ],
    [ 'an extension',       'GET /v2/alice/app/_oras/artifacts/referrers',    'repository:alice/app:pull' ],
    [ 'a push is challenged for pull, too', 'PUT /v2/alice/app/manifests/latest',
      'repository:alice/app:pull,push' ],
    [ 'an upload',          'POST /v2/alice/app/blobs/uploads/',
      'repository:alice/app:pull,push' ],
    [ 'an upload that goes on', 'PATCH /v2/alice/app/blobs/uploads/1',
      'repository:alice/app:pull,push' ],
    [ 'one that ends',      'DELETE /v2/alice/app/blobs/uploads/1',
      'repository:alice/app:pull,push' ],
    [ 'delete is delete',   'DELETE /v2/alice/app/manifests/latest',          'repository:alice/app:delete' ],
    [ 'a mount names both', "POST /v2/alice/app/blobs/uploads/?mount=$DIGEST&from=bob/x",
        'repository:alice/app:pull,push repository:bob/x:pull' ],
    [ 'not one that is stripped', "POST /v2/alice/app/blobs/uploads/?mount=$DIGEST&from=Bob",
      'repository:alice/app:pull,push' ],
    [ 'the catalogue',      'GET /v2/_catalog?n=5',                           'registry:catalog:*' ],
    [ 'V1: users',          'GET /v1/users',                                  '' ],
    [ 'V1: a repository',   'PUT /v1/repositories/alice/app/',
      'repository:alice/app:pull,push' ],
    [ 'V1: of one segment', 'GET /v1/repositories/ubuntu/images',
      'repository:library/ubuntu:pull' ],
    [ 'V1: an image',       'GET /v1/images/0123abcd/layer',                  'registry:images:pull' ],
    [ 'V1: an image sent',  'PUT /v1/images/0123abcd/layer',                  'registry:images:push' ],
);
my $spec = '';
for my $row (@CHALLENGES) {
    my ($title, $request, $scope) = @$row;
    # V1 clients know no tokens: they are always asked for a password.
    my $is_v1 = $title =~ /^V1/;
    my $challenge = $is_v1 ? 'Basic realm="Registry"' : $BEARER . ($scope ? qq{,scope="$scope"} : '');
    my $error = sub { $is_v1 ? '' : qq{,error="$_[0]"} };
    my $invalid = $error->('invalid_token');
    $spec .= spec_block(
        "exactly one challenge, with the scope of the request: $title",
        request          => [ ($request) x 4 ],
        more_headers     => [ undef, map { bearer($_) } 'x.y.z', signed(exp => time - 100 * 86_400),
            signed(user => 'root') ],
        error_code       => 401,
        response_headers => [ "WWW-Authenticate: $challenge", ("WWW-Authenticate: $challenge$invalid") x 3 ],
        forwarded        => 0,
    );
    $spec .= spec_block(
        "a token without that scope lacks it: $title",
        request          => $request,
        redis            => "HSET docker-registry:user:alice grant:** *\n",
        more_headers     => bearer(signed(scope => 'repository:alice/other:pull,push,delete')),
        error_code       => 401,
        response_headers => 'WWW-Authenticate: ' . $challenge . $error->('insufficient_scope') . "\n",
        forwarded        => 0,
    ) if $scope;
    $spec .= spec_block(
        "a token with the scope of the challenge, and Basic beside it: $title",
        request      => [ ($request) x 2 ],
        redis        => "HSET docker-registry:user:alice grant:** *\n",
        backend      => "GET /v2/_catalog => body: {\"repositories\":[]}\n",
        login        => [ '', 'alice:secret' ],
        more_headers => [ bearer(signed(scope => [ split / /, $scope ])), undef ],
        $title =~ /stripped/ ? (forwarded => 'POST /v2/alice/app/blobs/uploads/') : $scope =~ /catalog/ ? ()
            : (forwarded => 1),
        raw_response_headers_unlike => 'WWW-Authenticate',
    );
}

defaults(
    http_config => token_http(),
    config      => token_config(),
    accounts    => "alice:secret\nbob:secret\nwarm:secret\n",
);
run_tests($spec . join '', <DATA>);

__DATA__
=== what is no route or not canonical has no challenge
--- request eval
[ "GET /v3/", "GET /v2/alice/../x/tags/list", "PUT /v2/Alice/manifests/v1" ]
--- more_headers eval
[ undef, main::bearer(main::signed()), main::bearer('x') ]
--- error_code eval
[ 404, 400, 400 ]
--- response_headers
!WWW-Authenticate

=== known without the right is 403 without a challenge, with a token that claims it, too
--- request eval
[ ("GET /v2/bob/x/tags/list") x 2 ]
--- login eval
[ "alice:secret", "" ]
--- more_headers eval
[ undef, main::bearer(main::signed(scope => 'repository:bob/x:pull')) ]
--- error_code: 403
--- oci_error: DENIED alice may not pull bob/x
--- response_headers
!WWW-Authenticate
--- forwarded: 0

=== a wrong password has the Bearer challenge without an error
--- login: alice:wrong
--- request
GET /v2/alice/app/tags/list
--- error_code: 401
--- oci_error: UNAUTHORIZED incorrect username or password
--- response_headers eval
qq{WWW-Authenticate: $main::BEARER,scope="repository:alice/app:pull"}

=== registry_auth_bearer service=
--- config eval
main::token_config() =~ s{http://localhost/token;}{http://localhost/token service=my.registry:5000/x;}r
--- request eval
[ ("GET /v2/") x 3 ]
--- more_headers eval
[ undef, main::bearer(main::signed()), main::bearer(main::signed(service => 'my.registry:5000/x')) ]
--- error_code eval
[ 401, 401, 200 ]
--- response_headers eval
my $challenge = 'WWW-Authenticate: Bearer realm="http://localhost/token",service="my.registry:5000/x"';
[ $challenge, qq($challenge,error="invalid_token"), '!WWW-Authenticate' ]

=== service= may hold blanks, and is compared without regard to case
--- config eval
main::token_config() =~ s{http://localhost/token;}{http://localhost/token "service=My own registry";}r
--- login eval
[ undef, ("alice:secret") x 4, undef ]
--- request eval
[ "GET /v2/", (map {"GET /token?service=$_"} 'My%20own%20registry', 'My+own+registry', 'my%20OWN%20registry',
  'My%20registry'), "GET /v2/" ]
--- more_headers eval
[ (undef) x 5, main::bearer(main::signed(service => 'My own registry')) ]
--- error_code eval
[ 401, 200, 200, 200, 400, 200 ]
--- response_headers eval
[ 'WWW-Authenticate: Bearer realm="http://localhost/token",service="My own registry"', (undef) x 5 ]

=== a token for the target alone: a permitted mount asks for both, one that is not permitted goes on without
--- redis
HSET docker-registry:user:alice grant:bob/open pull
--- more_headers eval
main::bearer(main::signed(scope => 'repository:alice/app:pull,push'))
--- request eval
[ map {"POST /v2/alice/app/blobs/uploads/?mount=$main::DIGEST&from=bob/$_"} 'open', 'closed' ]
--- error_code eval
[ 401, 200 ]
--- response_headers eval
my $scope = 'repository:alice/app:pull,push repository:bob/open:pull';
[ qq{WWW-Authenticate: $main::BEARER,scope="$scope",error="insufficient_scope"}, '!WWW-Authenticate' ]
--- forwarded eval
[ 0, "POST /v2/alice/app/blobs/uploads/" ]

=== rule 13: realm injection by the host: quoted, one line, one challenge
--- config eval
main::token_config() =~ s{http://localhost/token;}{\$scheme://\$http_host/token;}r
--- request eval
[ ("GET /v2/") x 4 ]
--- more_headers eval
[ map {"Host: $_"} 'registry.example:5000', 'a",error="x', 'a\\', 'a", Basic realm="b' ]
--- error_code_like: ^40[01]$
--- raw_response_headers_like eval
[ qr{WWW-Authenticate: Bearer realm="http://registry\.example:5000/token",service="registry"\r\n},
  map { qr{^HTTP/1.1 400|WWW-Authenticate: Bearer realm="http://$_/token",service="registry"\r\n} }
    'a\\\\",error=\\\\"x', 'a\\\\\\\\', 'a\\\\", Basic realm=\\\\"b' ]

=== rule 13: realm injection by a variable with line ends
--- config eval
'set $evil "x\r\nSet-Cookie: a=b\r\n\r\n<html>";'
    . main::token_config() =~ s{http://localhost/token;}{http://\$evil/token;}r
--- request
GET /v2/
--- error_code: 401
--- response_headers
WWW-Authenticate: Bearer realm="http://xSet-Cookie: a=b<html>/token",service="registry"
!Set-Cookie

=== /v2/ without credentials is 401, also for an anonymous token; what is public is pulled by it, and without
--- redis
HSET docker-registry:group:public grant:public/* pull
--- request eval
[ map {( "GET $_" ) x 3} '/v2/', '/v2/public/a/tags/list', '/v2/alice/x/tags/list' ]
--- more_headers eval
[ (undef, "Authorization: Basic Og==",
  main::bearer(main::signed(user => '', scope =>
  [ map {"repository:$_:pull,push"} 'public/a', 'alice/x' ]))) x 3 ]
--- error_code eval
[ (401) x 3, (200) x 3, (401) x 3 ]
--- response_headers eval
[ ("X-Result: unauthenticated") x 3, ("X-Result: anonymous") x 3, ("X-Result: unauthenticated") x 3 ]
--- forwarded eval
[ (0) x 3, (1) x 3, (0) x 3 ]

=== an anonymous token is not good for what else is public, nor for a push
--- redis
HSET docker-registry:group:public grant:public/* pull
--- more_headers eval
main::bearer(main::signed(user => '', scope => 'repository:public/a:pull,push'))
--- request eval
[ "GET /v2/public/b/tags/list", "PUT /v2/public/a/manifests/x" ]
--- error_code: 401
--- response_headers eval
[ qq{WWW-Authenticate: $main::BEARER,scope="repository:public/b:pull",error="insufficient_scope"},
  qq{WWW-Authenticate: $main::BEARER,scope="repository:public/a:pull,push"} ]

=== a Bearer header where only Basic is configured is 401 with a Basic challenge
--- config eval
main::token_config() . Harness::gate_config('registry_auth_bearer off;') =~ s{location /}{location /v1/}r
--- more_headers eval
main::bearer(main::signed())
--- request eval
[ "GET /v1/users", "GET /v2/", "GET /v1/users", "GET /v2/" ]
--- error_code eval
[ 401, 200, 401, 200 ]
--- response_headers eval
[ ('WWW-Authenticate: Basic realm="Registry"', "!WWW-Authenticate") x 2 ]

=== another service does not go by a token that is known, though
--- config eval
main::token_config() . Harness::gate_config(
    'registry_auth_bearer http://localhost/token service=other;') =~ s{location /}{location /v1/}r
--- more_headers eval
main::bearer(main::signed())
--- request eval
[ "GET /v2/", "GET /v1/users", "GET /v2/", "GET /v1/users" ]
--- error_code eval
[ 200, 401, 200, 401 ]

=== nor another prefix, though the same user and password be there
--- config eval
main::token_config() . Harness::gate_config('registry_auth_prefix other;') =~ s{location /}{location /v1/}r
--- redis eval
'HSET other:user:alice password ' . Harness::Users::sha('secret')
--- more_headers eval
main::bearer(main::signed())
--- request eval
[ "GET /v2/", "GET /v1/users", "GET /v2/", "GET /v1/users" ]
--- error_code eval
[ 200, 401, 200, 401 ]

=== rule 11: two Authorization headers: refused, never a pick
--- request eval
[ ("GET /v2/") x 4 ]
--- more_headers eval
my ($basic, $token, $bad) = ('Authorization: ' . Harness::Client::basic('alice:secret') . "\n",
    main::bearer(main::signed()), main::bearer('x'));
[ $basic . $token, $token . $basic, $token . $token, $bad . $basic ]
--- error_code_like: ^40[01]$
--- forwarded: 0

=== the scheme is of any case, the token not
--- request eval
[ ("GET /v2/") x 4 ]
--- more_headers eval
my $token = main::signed();
[ "Authorization: bearer $token", "Authorization: BEARER   $token", "Authorization: Bearer",
  "Authorization: Bearer " . lc $token ]
--- error_code eval
[ 200, 200, 401, 401 ]

=== satisfy any: an allowed address needs no token, nor a good one
--- config eval
main::token_config('satisfy any; allow 127.0.0.1; deny all;')
--- request eval
[ ("GET /v2/bob/x/tags/list") x 3 ]
--- more_headers eval
[ undef, main::bearer('x'), main::bearer(main::signed()) ]
--- forwarded: 1
--- response_headers
!WWW-Authenticate

=== satisfy any: a denied address passes with a token, and with nothing less
--- config eval
main::token_config('satisfy any; deny all;')
--- request eval
[ ("GET /v2/alice/x/tags/list") x 3 ]
--- more_headers eval
[ undef, main::bearer(main::signed()), main::bearer(main::signed(scope => 'repository:alice/x:pull')) ]
--- error_code eval
[ 401, 401, 200 ]
--- response_headers eval
my $challenge = qq{WWW-Authenticate: $main::BEARER,scope="repository:alice/x:pull"};
[ $challenge, qq($challenge,error="insufficient_scope"), "!WWW-Authenticate" ]

=== rule 16: an error_page into a gated location is decided there, by the same token
--- config eval
main::token_config('proxy_intercept_errors on; error_page 404 = @other;')
    . Harness::gate_config() =~ s{location /}{location \@other}r
--- backend
status: 404
--- request eval
[ ("GET /v2/alice/x/tags/list") x 2 ]
--- more_headers eval
[ main::bearer(main::signed(scope => 'repository:alice/x:pull')),
  main::bearer(main::signed(scope => 'repository:alice/y:pull')) ]
--- error_code eval
[ 404, 401 ]

=== rule 16: an error_page into one where only Basic is accepted: the token is not
--- config eval
main::token_config('proxy_intercept_errors on; error_page 404 = @other;')
    . Harness::gate_config('registry_auth_bearer off;') =~ s{location /}{location \@other}r
--- backend
status: 404
--- request eval
[ ("GET /v2/alice/x/tags/list") x 2 ]
--- login eval
[ "", "alice:secret" ]
--- more_headers eval
[ main::bearer(main::signed(scope => 'repository:alice/x:pull')), undef ]
--- error_code eval
[ 401, 404 ]

=== rule 16: error_page 401 keeps the page of the administrator, and the challenge
--- config eval
main::token_config('error_page 401 /login.html;')
    . "location = /login.html { internal; return 401 'log in'; }\n"
--- more_headers eval
main::bearer('x')
--- request
GET /v2/
--- error_code: 401
--- response_body: log in
--- response_headers eval
qq(WWW-Authenticate: $main::BEARER,error="invalid_token")

=== rule 16: try_files to the gate
--- config eval
main::token_config() =~ s{location /v?2?/? \{}{location \@registry \{}r
    . 'location / { try_files /none @registry; }'
--- request eval
[ ("GET /v2/alice/x/tags/list") x 2 ]
--- more_headers eval
[ main::bearer(main::signed(scope => 'repository:alice/x:pull')),
  main::bearer(main::signed(scope => 'repository:alice/y:pull')) ]
--- error_code eval
[ 200, 401 ]

=== over HTTP/2
--- http2
--- request eval
[ ("GET /v2/") x 2 ]
--- more_headers eval
[ main::bearer(main::signed()), main::bearer('x') ]
--- error_code eval
[ 200, 401 ]
--- response_headers eval
[ "X-User: alice", qq{WWW-Authenticate: $main::BEARER,error="invalid_token"} ]

=== the Authorization header does not reach the backend
--- more_headers eval
main::bearer(main::signed())
--- request
GET /v2/
--- backend_not_received
Bearer
eyJ

=== an upload that has begun may be finished with a token that has expired since; nothing else may
--- request eval
[ (map {"$_ /v2/alice/app/blobs/uploads/1234"} qw(GET PATCH PUT DELETE)), "POST /v2/alice/app/blobs/uploads/",
  "PUT /v2/alice/app/manifests/x", "GET /v2/alice/app/blobs/$main::DIGEST", "GET /v2/",
  "PATCH /v2/alice/other/blobs/uploads/1" ]
--- more_headers eval
main::bearer(main::signed(exp => time - 5, scope => 'repository:alice/app:pull,push'))
--- error_code eval
[ (200) x 4, (401) x 5 ]
--- oci_error eval
[ (undef) x 4, ("UNAUTHORIZED the token has expired") x 4, "UNAUTHORIZED the token is not good for this" ]
--- forwarded eval
[ (1) x 4, (0) x 5 ]

=== for a day
--- request eval
[ ("PATCH /v2/alice/app/blobs/uploads/1") x 2 ]
--- more_headers eval
[ map { main::bearer(main::signed(exp => time - 86_400 + $_, scope => 'repository:alice/app:push')) } 300,
  -300 ]
--- error_code eval
[ 200, 401 ]

=== a token ends at its second though it is known: expires in mid session
--- more_headers eval
main::bearer(main::signed(exp => time + 2))
--- after
my $token = signed(exp => time + 2, scope => 'repository:alice/app:pull,push');
equal(asked_with($token) =~ s/ .*//r, 200, 'at first');
soon('at its end', 401, sub { asked_with($token) =~ s/ .*//r }, 5);
equal(with_token($token, 'PATCH /v2/alice/app/blobs/uploads/1')->{status}, 200, 'the upload goes on');
equal(with_token($token, 'GET /v2/alice/app/tags/list')->{status}, 401, 'nothing else does');

=== what a locked user began is not finished
--- redis eval
'HSET docker-registry:user:alice password !' . Harness::Users::sha('secret')
--- more_headers eval
main::bearer(main::signed(scope => 'repository:alice/app:push'))
--- request eval
[ ("PATCH /v2/alice/app/blobs/uploads/1") x 2 ]
--- error_code: 401
--- oci_error: UNAUTHORIZED the account of the token is locked or gone
--- response_headers_like: WWW-Authenticate: .*,error="invalid_token"

=== a balancer that is not listed: the log asks once why a request by TLS is sent to http://
--- config
        location / { registry_auth "Registry"; registry_auth_bearer http://localhost/token;
            proxy_pass http://registry; }
--- more_headers eval
[ "", "X-Forwarded-Proto: http", "X-Forwarded-Proto: https", "X-Forwarded-Proto: https" ]
--- request eval
[ ('GET /v2/') x 4 ]
--- error_code: 401
--- restart
--- error_log
[warn]
clients are sent to http://localhost/token for tokens, but this request came with "X-Forwarded-Proto: https"
--- after
my $lines = () = nginx_server()->since('error') =~ /behind-balancer\.conf does not list/g;
equal($lines, 1, 'lines');

=== where they are sent to https://, the header is of no matter
--- config
        location / { registry_auth "Registry"; registry_auth_bearer https://localhost/token;
            proxy_pass http://registry; }
--- more_headers
X-Forwarded-Proto: https
--- request
GET /v2/
--- error_code: 401
--- restart
--- no_error_log
behind-balancer
