# The matrix of t/neighbours.t: what nginx's other modules do beside the gate,
# times what the gate may answer. One row is one server{} with a gated location
# and a token endpoint, chosen by the Host header, so that all rows live in one
# nginx. One cell is a connection: the row's request for the case, then an
# ordinary one, which has to be answered rightly after it.
#
# Of each cell: status and body are those expected (the client reads exactly what
# is announced, so that a body of another length spoils the next answer); the
# access log has one line for it, with the variables of the decision; and what a
# backend learns of the user is nothing where the location is one of another
# prefix.
package Harness::Neighbours;

use strict;
use warnings;

use IO::Uncompress::Gunzip qw(gunzip $GunzipError);
use JSON::PP ();
use Test::More;
use Time::HiRes qw(sleep time);

use Harness::Client;
use Harness::Http2;
use Harness::Http3;
use Harness::Response;
use Harness::Valgrind;

my $PAGE  = '<center>nginx';        # one of nginx's own pages
my $CHUNK = 'x' x 100_000;

# --- the cases: one answer of the gate each -----------------------------------------------------------------

# request, login; status; body: strings that are in it; log: user, result, backend's letter, repository,
# action;
my @CASE = (
    [ granted => 'GET /v2/alice/x/tags/list', 'alice:secret', 200,
      [ 'backend: A', 'uri: /v2/alice/x/tags/list' ], 'alice granted A alice/x pull' ],
    [ head        => 'HEAD /v2/alice/x/manifests/v1',                'alice:secret', 200, [],
      'alice granted A alice/x pull' ],
    [ put         => "PUT /v2/alice/x/manifests/v1\n{}",             'alice:secret', 200, ['backend: A'],
      'alice granted A alice/x push' ],
    [ wrong       => 'GET /v2/alice/x/tags/list',                    'alice:wrong',  401, ['UNAUTHORIZED'],
      '- unauthenticated - alice/x pull' ],
    [ nobody      => 'GET /v2/alice/x/tags/list',                    '',             401, ['UNAUTHORIZED'],
      '- unauthenticated - alice/x pull' ],
    [ denied      => 'GET /v2/bob/x/tags/list',                      'alice:secret', 403, ['DENIED'],
      'alice denied - bob/x pull' ],
    [ denied_head => 'HEAD /v2/bob/x/manifests/v1',                  'alice:secret', 403, [],
      'alice denied - bob/x pull' ],
    [ denied_put  => "PUT /v2/bob/x/manifests/v1\n$CHUNK",           'alice:secret', 403, ['DENIED'],
      'alice denied - bob/x push' ],
    [ unreadable  => 'GET /v2/carol/x/tags/list',                    'carol:secret', 503, ['UNAVAILABLE'],
      '- unavailable - carol/x pull' ],
    [ no_backend  => 'GET /v2/dave/x/tags/list',                     'dave:secret',  503, ['UNAVAILABLE'],
      'dave unavailable - dave/x pull' ],
    [ missing     => 'GET /v2/erin/x/tags/list',                     'erin:secret',  404, ['backend: C'],
      'erin granted C erin/x pull' ],
    [ no_route    => 'GET /v2/alice/x/what',                         'alice:secret', 404, ['UNSUPPORTED'],
      '- invalid - - -' ],
    [ catalog     => 'GET /v2/_catalog',                             'alice:secret', 200,
      ['{"repositories":["alice/x"]}'], 'alice granted A - -' ],
    [ catalog_denied  => 'GET /v2/_catalog',                         '',             401, ['UNAUTHORIZED'],
      '- unauthenticated - - -' ],
    [ catalog_missing => 'GET /v2/_catalog',                         'erin:secret',  404, ['backend: C'],
      'erin granted C - -' ],
    [ token       => 'GET /token?service=here',                      'alice:secret', 200, ['"access_token"'],
      'alice granted - - -' ],
    [ token_wrong => 'GET /token?service=here',                      'alice:wrong',  401, ['UNAUTHORIZED'],
      '- unauthenticated - - -' ],
    [ token_other => 'GET /token?service=elsewhere',                 'alice:secret', 400, ['UNSUPPORTED'],
      '- invalid - - -' ],
    [ ping        => 'GET /v2/',                                     'alice:secret', 200,
      [ 'backend: A', "uri: /v2/\n" ], 'alice granted A - -' ],
    [ ping_nobody => 'GET /v2/',                                     '',             401, ['UNAUTHORIZED'],
      '- unauthenticated - - -' ],
);

# Those that reach a backend, and those that the gate answers by itself after letting the request in.
my @PROXIED  = qw(granted head put missing catalog_missing ping);
my @PASSED   = (@PROXIED, qw(catalog no_backend));
my @REFUSED  = qw(wrong nobody denied denied_head denied_put unreadable no_route catalog_denied ping_nobody);

# --- the rows: one neighbour each ---------------------------------------------------------------------------

# needs: an option of ./configure; http: text in http{}; server: in the row's server{}; gate: in its gated
# location;
# token: in its token endpoint (else what `gate` says); headers: sent along; hole: case => why it is not
# there;
# expect: case => { status, body, log, ... } in place of the case's own; change: what becomes of every
# expectation; prime: cases that are asked for before the matrix runs, whose answers are cached.
my $OWN = 'proxy_set_header X-Seen "$registry_auth_user:"; proxy_set_header X-Where here;';
my $OTHER =
    'registry_auth "Other"; registry_auth_prefix other; proxy_set_header X-Seen "$registry_auth_user:"; '
        . 'proxy_set_header X-Where other;';
# The administrator's registry may steer nginx, unlike those of users.
my $STEERING = 'location /v2/alice/accel/ { registry_auth "R"; '
    . 'proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT; }';

sub same { my ($value, @case) = @_; return map { $_ => $value } @case }

# Without the body of the request, which may be gone by then: nginx would announce it all the same.
my $TO_B =
    "proxy_pass http://127.0.0.1:\$TEST_NGINX_BACKEND_B_PORT; proxy_pass_request_body off; "
        . "proxy_set_header Content-Length '';";

my $NOT_ITS_OWN = 'the endpoint answers itself: there is nothing to proxy, cache or cut';
my @TOKEN = qw(token token_wrong token_other);
sub no_token { return (token => '', hole => { same($_[0] // $NOT_ITS_OWN, @TOKEN) }) }

my @ROW = (
    { name => 'plain' },
    {
        # Early, as one request a minute is let through.
        name => 'limit_req_refuses', http => 'limit_req_zone $server_name zone=refuses:1m rate=1r/m;',
            gate => 'limit_req zone=refuses;',
        prime => [ 'ping' ],
        change => sub {
            my ($case, $e) = @_;
            @$e{qw(status body user result backend repository action)} = (503, $case =~ /head/ ? [] : [$PAGE],
                ('-') x 5);
        },
        next => { status => 503, body => [$PAGE] },
    },
    {
        name => 'auth_request_return', needs => '--with-http_auth_request_module',
        gate => 'auth_request /check;', server => 'location = /check { internal; return 204; }',
    },
    {
        name => 'auth_request_refuses', needs => '--with-http_auth_request_module',
        gate => 'auth_request /check;', server => 'location = /check { internal; return 403; }',
        expect => {
            (map { $_ => { status => 403, body => [$PAGE],
                backend => '-' } } qw(granted put missing no_backend ping token)),
            head    => { status => 403, backend => '-' },
            catalog => { status => 403, body => [$PAGE] },
            catalog_missing => { status => 403, body => [$PAGE] },
            no_backend => { status => 403, body => [$PAGE], result => 'granted' },
        },
        next => { status => 403, body => [$PAGE] },
    },
    {
        name => 'auth_request_proxied', needs => '--with-http_auth_request_module',
        gate => 'auth_request /check;',
        server => "location = /check { internal; $TO_B }",
    },
    {
        # The service is asked where the user's registry is, and is refused as that is.
        name => 'auth_request_to_the_users_backend', needs => '--with-http_auth_request_module',
        gate => 'auth_request /check;',
        server =>
            "location = /check { internal; proxy_pass http://registry; proxy_pass_request_body off; "
                . "proxy_set_header Content-Length ''; $OWN }",
        expect => {
            missing         => { status => 500, body => [$PAGE], backend => '-' },
            catalog_missing => { status => 500, body => [$PAGE] },
            no_backend      => { status => 500, body => [$PAGE], result => 'granted' },
        },
    },
    {
        name => 'mirror_proxied', gate => 'mirror /copy;',
        server => 'location = /copy { internal; '
            . 'proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_B_PORT$request_uri; }',
    },
    {
        name => 'mirror_to_the_users_backend', gate => 'mirror /copy;',
        server => "location = /copy { internal; proxy_pass http://registry\$request_uri; $OWN }",
    },
    {
        name => 'mirror_without_body', gate => 'mirror /copy; mirror_request_body off;',
        server =>
            "location = /copy { internal; proxy_pass http://registry\$request_uri; "
                . "proxy_pass_request_body off; proxy_set_header Content-Length ''; $OWN }",
    },
    {
        name => 'mirror_to_another_prefix', gate => 'mirror /copy;',
        server => "location = /copy { internal; proxy_pass http://registry\$request_uri; $OTHER }",
    },
    {
        name => 'mirror_to_nobodys_backend', gate => 'mirror /copy;',
        server => "location = /copy { internal; proxy_pass http://nobodys; $OTHER }",
    },
    {
        name => 'slice', needs => '--with-http_slice_module',
        gate => 'slice 300; proxy_set_header Range $slice_range;', no_token(),
        expect => { granted => {
            request => 'GET /v2/sue/x/blobs/sha256:' . 'a' x 64, login => 'sue:secret',
                body => [ join ' ', 1 .. 300 ],
            log => 'sue granted E sue/x pull',
        } },
    },
    {
        name => 'slice_of_another_prefix_beside', needs => '--with-http_slice_module',
        gate => 'slice 300; proxy_set_header Range $slice_range; mirror /copy;', no_token(),
        server => "location = /copy { internal; proxy_pass http://registry\$request_uri; $OTHER }",
        expect => { granted => {
            request => 'GET /v2/sue/x/blobs/sha256:' . 'a' x 64, login => 'sue:secret',
                body => [ join ' ', 1 .. 300 ],
            log => 'sue granted E sue/x pull',
        } },
    },
    {
        # What a user's registry writes is no command, whatever nginx does elsewhere.
        name => 'ssi', gate => 'ssi on; ssi_types *;',
        server => "location = /part { internal; proxy_pass http://registry; $OWN }",
